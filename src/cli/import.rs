//! `postroom import`: mbox, Maildir and folders of .eml and mbox, read a message at a time.

use super::exchange::{Ask, Progress};
use super::mbox::{Found, Mbox};
use crate::inbox::admin::{AdminReply, AdminRequest};
use crate::inbox::admin_import::{ImportReport, ImportRequest, MessageLine};
use crate::types::limits::UPLOAD_SIZE_BYTES_MAX;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

#[derive(Args)]
pub struct Import {
    /// Files and folders: mbox, Maildir, .eml, and folders of these.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The address of the inbox or person that gets the mail.
    #[arg(long, value_name = "EMAIL")]
    into: String,
    /// What the paths are; without it each is looked at.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Put all of it into this mailbox, such as `Archive` or `Customers/2024`, whatever folders it was in.
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// All of it has been read.
    #[arg(long)]
    seen: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Auto,
    Mbox,
    Maildir,
    Eml,
}

/// What was brought in.
#[derive(Default)]
struct Sum {
    report: ImportReport,
    /// What can't be taken, and why.
    left: Vec<String>,
    /// Files in folders that are no mail.
    skipped: Vec<String>,
}

/// Octets of messages that go to the server at once.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const BATCH_MESSAGES: usize = 100;

/// Reads the paths and hands what is in them to the server, a batch at a time.
struct Importer<'a> {
    options: &'a Import,
    ask: Ask<'a>,
    waiting: Vec<MessageLine>,
    bytes: usize,
    sum: Sum,
    progress: Progress,
}

/// Runs the command. Gives what to print.
pub fn run(options: &Import, ask: Ask<'_>) -> Result<Value, String> {
    let progress = Progress::new("messages read");
    let (waiting, bytes, sum) = (Vec::new(), 0, Sum::default());
    let mut importer = Importer { options, ask, waiting, bytes, sum, progress };
    for path in &options.paths {
        importer.path(path)?;
    }
    importer.send()?;
    let Sum { report, left, skipped } = importer.sum;
    left.iter().for_each(|why| eprintln!("postroom: left out: {why}"));
    skipped.iter().for_each(|path| eprintln!("postroom: skipped, neither .eml nor mbox: {path}"));
    Ok(json!({
        "added": report.added, "known": report.known, "leftOut": left,
        "skipped": skipped.len(), "skippedFiles": skipped
    }))
}

impl Importer<'_> {
    fn path(&mut self, path: &Path) -> Result<(), String> {
        let format = match self.options.format {
            Format::Auto => look(path).map_err(|error| told(path, &error))?,
            format => format,
        };
        let done = match format {
            Format::Maildir => self.maildirs(path, &[]),
            _ if path.is_dir() => self.folder(path, &[]),
            Format::Mbox => self.mbox(path, &[]),
            Format::Eml | Format::Auto => self.file(path, vec![Vec::new()], Vec::new()),
        };
        done.map_err(|error| told(path, &error))
    }

    /// A Maildir with its folders: `.A.B` beside `cur`, or folders in folders.
    fn maildirs(&mut self, path: &Path, names: &[String]) -> io::Result<()> {
        for part in ["cur", "new"] {
            for file in sorted(&path.join(part))? {
                let name = file_name(&file);
                if name.starts_with('.') || !file.is_file() {
                    continue;
                }
                let (keywords, trashed) = flags(&name);
                let mut folders = vec![names.to_vec()];
                if trashed {
                    folders = vec![vec!["Trash".to_owned()]];
                }
                self.file(&file, folders, keywords)?;
            }
        }
        for folder in sorted(path)? {
            if folder.join("cur").is_dir() && !matches!(file_name(&folder).as_str(), "cur" | "new" | "tmp") {
                self.maildirs(&folder, &maildir_names(names, &folder))?;
            }
        }
        Ok(())
    }

    /// Each .eml is a message, each mbox a mailbox, and each folder the one above what is in it.
    fn folder(&mut self, path: &Path, names: &[String]) -> io::Result<()> {
        let wanted = |format| matches!(self.options.format, Format::Auto) || self.options.format == format;
        let (takes_eml, takes_mbox, takes_maildirs) =
            (wanted(Format::Eml), wanted(Format::Mbox), wanted(Format::Maildir));
        for one in sorted(path)? {
            let is_eml = file_name(&one).to_lowercase().ends_with(".eml");
            if takes_maildirs && one.join("cur").is_dir() {
                self.maildirs(&one, &maildir_names(names, &one))?;
            } else if one.is_dir() {
                self.folder(&one, &[names, &[file_name(&one)]].concat())?;
            } else if takes_eml && is_eml && one.is_file() {
                self.file(&one, vec![names.to_vec()], Vec::new())?;
            } else if takes_mbox && !is_eml && one.is_file() && look(&one)? == Format::Mbox {
                self.mbox(&one, names)?;
            } else {
                self.sum.skipped.push(one.display().to_string());
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, folders: Vec<Vec<String>>, keywords: Vec<String>) -> io::Result<()> {
        let mut content = Vec::new();
        File::open(path)?.take(UPLOAD_SIZE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
        let modified = fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH);
        // A Maildir keeps the time of arrival so; a file of its own may have been copied any time.
        let is_maildir = path.extension().is_none_or(|extension| extension != "eml");
        let received_at = modified.ok().filter(|_| is_maildir).map(|since| since.as_secs() as i64);
        let line = MessageLine { content: String::new(), folders, keywords, received_at };
        self.message(&path.display().to_string(), &content, line)
    }

    /// A mailbox below these.
    fn mbox(&mut self, path: &Path, above: &[String]) -> io::Result<()> {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = [above, &[stem]].concat();
        let mut reader = BufReader::new(File::open(path)?);
        let Some(mut mbox) = Mbox::open(&mut reader)? else {
            let why = "doesn't begin as an mbox does, with a line `From SENDER DATE`";
            self.sum.left.push(format!("{} {why}", path.display()));
            return Ok(());
        };
        let mut number = 0;
        while let Some(Found { content, keywords, received_at }) = mbox.message()? {
            number += 1;
            let (folders, received_at) = (vec![folder.clone()], Some(received_at));
            let line = MessageLine { content: String::new(), folders, keywords, received_at };
            self.message(&format!("message {number} of {}", path.display()), &content, line)?;
        }
        Ok(())
    }

    fn message(&mut self, what: &str, content: &[u8], mut line: MessageLine) -> io::Result<()> {
        self.progress.step();
        if content.len() > UPLOAD_SIZE_BYTES_MAX {
            self.sum.left.push(format!("{what} is larger than {UPLOAD_SIZE_BYTES_MAX} octets"));
            return Ok(());
        }
        if content.is_empty() {
            self.sum.left.push(format!("{what} is empty"));
            return Ok(());
        }
        if let Some(mailbox) = &self.options.mailbox {
            line.folders = vec![mailbox.split('/').map(str::to_owned).collect()];
        }
        if self.options.seen {
            line.keywords.push("$seen".to_owned());
        }
        let content = with_crlf(content);
        self.bytes += content.len();
        line.content = BASE64_STANDARD.encode(content);
        self.waiting.push(line);
        if self.bytes >= BATCH_BYTES || self.waiting.len() >= BATCH_MESSAGES {
            self.send().map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), String> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let messages = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let request = ImportRequest { into: self.options.into.clone(), messages };
        match (self.ask)(AdminRequest::Import(request))? {
            AdminReply::Imported(report) => {
                self.sum.report.added += report.added;
                self.sum.report.known += report.known;
                Ok(())
            }
            _ => Err("the server answers something else".to_owned()),
        }
    }
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}; run it again to go on, what is there already is known", path.display())
}

/// What a path looks like. An mbox is one by its name even where it is empty.
fn look(path: &Path) -> io::Result<Format> {
    if path.is_dir() {
        return Ok(if path.join("cur").is_dir() { Format::Maildir } else { Format::Auto });
    }
    let mut begin = Vec::new();
    File::open(path)?.take(5).read_to_end(&mut begin)?;
    let is_mbox = begin == b"From " || file_name(path).to_lowercase().ends_with(".mbox");
    Ok(if is_mbox { Format::Mbox } else { Format::Eml })
}

/// The last name of a path.
fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The mailbox that a Maildir in a folder is: `.A.B` is B below A.
fn maildir_names(above: &[String], path: &Path) -> Vec<String> {
    let name = file_name(path);
    let below = name.trim_start_matches('.').split(if name.starts_with('.') { '.' } else { '/' });
    above.iter().cloned().chain(below.map(str::to_owned)).collect()
}

/// What is in a folder, by name, so that each run reads it in the same order; nothing where there is none.
fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The flags at the end of a Maildir's file name; and whether it is thrown away.
fn flags(name: &str) -> (Vec<String>, bool) {
    let flags = name.rsplit_once(":2,").map_or("", |(_, flags)| flags);
    let keyword = |flag| match flag {
        'S' => Some("$seen"),
        'R' => Some("$answered"),
        'F' => Some("$flagged"),
        'D' => Some("$draft"),
        'P' => Some("$forwarded"),
        _ => None,
    };
    (flags.chars().filter_map(keyword).map(str::to_owned).collect(), flags.contains('T'))
}

/// Lines end as in mail (RFC 5322 §2.3), however the file has them.
fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 32);
    let mut before = 0;
    for octet in content {
        if *octet == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(*octet);
        before = *octet;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_keywords() {
        assert_eq!(flags("1.a:2,FRS").0, ["$flagged", "$answered", "$seen"]);
        assert_eq!(flags("1.a:2,ST"), (vec!["$seen".to_owned()], true));
        assert_eq!(flags("1.a"), (vec![], false));
    }

    #[test]
    fn lines_end_as_in_mail() {
        assert_eq!(with_crlf(b"a\nb\r\nc\rd\n\n"), b"a\r\nb\r\nc\rd\r\n\r\n");
    }
}
