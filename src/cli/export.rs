//! `postroom export`: all mail of an account as files that other programs read.

use super::exchange::{Ask, Progress};
use super::mbox;
use crate::inbox::admin::{AdminReply, AdminRequest};
use crate::inbox::admin_import::{ExportRequest, MessageLine};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

#[derive(Args)]
pub struct Export {
    /// The address of the inbox or person.
    email: String,
    /// A folder that is empty or doesn't exist.
    to: PathBuf,
    /// maildir: Maildir++, with flags and dates. mbox: a file for each mailbox, in the form mboxrd, with flags
    /// and dates and the line ends of Unix. eml: a file for each message, folders as mailboxes; it has no place
    /// for flags (read, answered, flagged, draft), which are lost.
    #[arg(long, value_enum, default_value_t = Form::Maildir)]
    format: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Mbox,
    Maildir,
    Eml,
}

/// Runs the command. Gives what to print.
pub fn run(options: &Export, ask: Ask<'_>) -> Result<Value, String> {
    let to = &options.to;
    let told = |error: io::Error| format!("{}: {error}", to.display());
    if to.exists() && fs::read_dir(to).map_err(told)?.next().is_some() {
        return Err(format!("{} isn't empty", to.display()));
    }
    fs::create_dir_all(to).map_err(told)?;
    let mut progress = Progress::new("messages written");
    let (mut count, mut next) = (0, Some(0));
    while let Some(after) = next {
        let request = ExportRequest { from: options.email.clone(), after };
        let page = match ask(AdminRequest::Export(request))? {
            AdminReply::Exported(page) => page,
            _ => return Err("the server answers something else".to_owned()),
        };
        for message in &page.messages {
            count += 1;
            progress.step();
            let content =
                BASE64_STANDARD.decode(&message.content).map_err(|_| "a message isn't base64".to_owned())?;
            for folder in &message.folders {
                write(options, count, &content, message, folder).map_err(told)?;
            }
        }
        next = page.next;
    }
    Ok(json!({"messages": count, "to": to}))
}

fn write(
    options: &Export,
    number: u64,
    content: &[u8],
    message: &MessageLine,
    folder: &[String],
) -> io::Result<()> {
    let names: Vec<String> = folder.iter().map(|name| safe(name)).collect();
    match options.format {
        Form::Eml => {
            let path = names.iter().fold(options.to.clone(), |path, name| path.join(name));
            fs::create_dir_all(&path)?;
            put(&path.join(format!("{number:08}.eml")), content, message.received_at)
        }
        Form::Maildir => {
            let dotted: Vec<String> = names.iter().map(|name| name.replace('.', "_")).collect();
            let path = match dotted.is_empty() {
                true => options.to.clone(),
                false => options.to.join(format!(".{}", dotted.join("."))),
            };
            for part in ["cur", "new", "tmp"] {
                fs::create_dir_all(path.join(part))?;
            }
            let at = message.received_at.unwrap_or_default();
            let name = format!("{at}.{number:08}.postroom:2,{}", flags(&message.keywords));
            put(&path.join("cur").join(name), content, message.received_at)
        }
        Form::Mbox => {
            let inbox = "INBOX".to_owned();
            let (last, above) = names.split_last().unwrap_or((&inbox, &[]));
            let path = above.iter().fold(options.to.clone(), |path, name| path.join(name));
            fs::create_dir_all(&path)?;
            append(&path.join(format!("{last}.mbox")), content, message)
        }
    }
}

/// Writes a file with the time of the message's arrival.
fn put(path: &Path, content: &[u8], received_at: Option<i64>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    if let Some(seconds) = received_at.and_then(|at| u64::try_from(at).ok()) {
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))?;
    }
    Ok(())
}

fn append(path: &Path, content: &[u8], message: &MessageLine) -> io::Result<()> {
    let file: File = OpenOptions::new().append(true).create(true).open(path)?;
    let mut out = BufWriter::new(file);
    mbox::write(&mut out, content, &message.keywords, message.received_at.unwrap_or_default())?;
    out.flush()
}

/// The flags of a Maildir, in the order of their letters.
fn flags(keywords: &[String]) -> String {
    let known = [("$draft", 'D'), ("$flagged", 'F'), ("$forwarded", 'P'), ("$answered", 'R'), ("$seen", 'S')];
    known
        .iter()
        .filter(|(keyword, _)| keywords.iter().any(|one| one == keyword))
        .map(|(_, flag)| *flag)
        .collect()
}

/// A file's name for a mailbox's, which may be anything.
fn safe(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c == '/' || c == '\\' || c.is_control() { '_' } else { c }).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}
