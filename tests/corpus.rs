//! Every file of the fuzz corpora, replayed as an ordinary test: what a fuzzer once found stays found, and
//! CI needs no fuzz build.

use std::fs;
use std::path::PathBuf;

#[path = "../fuzz/drive/bdat.rs"]
mod bdat;
#[path = "../fuzz/drive/dsn.rs"]
mod dsn;
#[path = "../fuzz/drive/jmap_request.rs"]
mod jmap_request;
#[path = "../fuzz/drive/keys.rs"]
mod keys;
#[path = "../fuzz/drive/message_id.rs"]
mod message_id;
#[path = "../fuzz/drive/mime.rs"]
mod mime;
#[path = "../fuzz/drive/patch.rs"]
mod patch;
#[path = "../fuzz/drive/smtp_session.rs"]
mod smtp_session;

#[test]
fn every_message_of_the_corpus_is_read() {
    replay("fuzz/corpus/mime", mime::drive);
    replay("demo/mails", mime::drive);
}

#[test]
fn every_request_of_the_corpus_is_answered() {
    replay("fuzz/corpus/jmap_request", jmap_request::drive);
}

#[test]
fn every_smtp_session_of_the_corpus_is_the_same_however_it_is_cut() {
    replay("fuzz/corpus/smtp_session", smtp_session::drive);
}

#[test]
fn every_patch_of_the_corpus_does_what_the_words_of_the_rfc_say() {
    replay("fuzz/corpus/patch", patch::drive);
}

#[test]
fn every_key_of_the_corpus_is_read_and_stands_in_order() {
    replay("fuzz/corpus/keys", keys::drive);
}

#[test]
fn every_message_in_chunks_of_the_corpus_is_delivered_as_it_was() {
    replay("fuzz/corpus/bdat", bdat::drive);
}

#[test]
fn every_bounce_of_the_corpus_is_read() {
    replay("fuzz/corpus/dsn", dsn::drive);
}

#[test]
fn every_message_id_of_the_corpus_is_told_from_ours() {
    replay("fuzz/corpus/message_id", message_id::drive);
}

fn replay(folder: &str, drive: fn(&[u8])) {
    let folder = PathBuf::from(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // The name is printed where the test fails.
        println!("{}", file.display());
        drive(&fs::read(&file).unwrap());
    }
}
