//! `postroom import`: mbox, Maildir and folders of .eml, read a message at a time.

use super::exchange::{Ask, Progress};
use crate::inbox::admin::{AdminReply, AdminRequest};
use crate::inbox::admin_import::{ImportReport, ImportRequest, MessageLine};
use crate::types::limits::UPLOAD_SIZE_BYTES_MAX;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

#[derive(Args)]
pub struct Import {
    /// Files and folders: mbox, Maildir, .eml.
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
    let Sum { report, left } = importer.sum;
    left.iter().for_each(|why| eprintln!("postroom: left out: {why}"));
    Ok(json!({"added": report.added, "known": report.known, "leftOut": left}))
}

impl Importer<'_> {
    fn path(&mut self, path: &Path) -> Result<(), String> {
        let format = match self.options.format {
            Format::Auto => look(path).map_err(|error| told(path, &error))?,
            format => format,
        };
        let done = match format {
            Format::Maildir => self.maildirs(path, &[]),
            Format::Mbox => self.mbox(path),
            Format::Eml | Format::Auto => self.files(path, &[]),
        };
        done.map_err(|error| told(path, &error))
    }

    /// A Maildir with its folders: `.A.B` beside `cur`, or folders in folders.
    fn maildirs(&mut self, path: &Path, names: &[String]) -> io::Result<()> {
        for part in ["cur", "new"] {
            for file in sorted(&path.join(part))? {
                let name =
                    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
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
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if folder.join("cur").is_dir() && !matches!(name.as_str(), "cur" | "new" | "tmp") {
                let below = name.trim_start_matches('.').split(if name.starts_with('.') { '.' } else { '/' });
                let names: Vec<String> = names.iter().cloned().chain(below.map(str::to_owned)).collect();
                self.maildirs(&folder, &names)?;
            }
        }
        Ok(())
    }

    /// Each file is a message; folders are mailboxes.
    fn files(&mut self, path: &Path, names: &[String]) -> io::Result<()> {
        if !path.is_dir() {
            return self.file(path, vec![names.to_vec()], Vec::new());
        }
        for one in sorted(path)? {
            let name = one.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if one.is_dir() {
                self.files(&one, &[names, &[name]].concat())?;
            } else if name.to_lowercase().ends_with(".eml") {
                self.file(&one, vec![names.to_vec()], Vec::new())?;
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

    /// RFC 4155; lines that begin with `From ` are quoted by `>`, as in mboxrd.
    fn mbox(&mut self, path: &Path) -> io::Result<()> {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut reader = BufReader::new(File::open(path)?);
        let mut number = 0;
        let mut next = from_line(&read_line(&mut reader)?);
        while let Some(received_at) = next {
            number += 1;
            let mut content = Vec::new();
            next = loop {
                let line = read_line(&mut reader)?;
                if line.is_empty() {
                    break None;
                }
                if line.starts_with(b"From ") {
                    break from_line(&line);
                }
                let quotes = line.iter().take_while(|octet| **octet == b'>').count();
                let quoted = quotes > 0 && line.get(quotes..).is_some_and(|rest| rest.starts_with(b"From "));
                // Read on where it is too large, and keep no more than shows that it is.
                if content.len() <= UPLOAD_SIZE_BYTES_MAX {
                    content.extend_from_slice(line.get(usize::from(quoted)..).unwrap_or_default());
                }
            };
            // The empty line before the next one is no part of the message.
            for end in [b"\r\n\r\n".as_slice(), b"\n\n"] {
                if content.ends_with(end) {
                    content.truncate(content.len() - end.len() / 2);
                    break;
                }
            }
            let line = MessageLine {
                content: String::new(),
                folders: vec![vec![stem.clone()]],
                keywords: status_keywords(&content),
                received_at,
            };
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

/// What a path looks like.
fn look(path: &Path) -> io::Result<Format> {
    if path.is_dir() {
        let is_maildir =
            path.join("cur").is_dir() || sorted(path)?.iter().any(|folder| folder.join("cur").is_dir());
        return Ok(if is_maildir { Format::Maildir } else { Format::Eml });
    }
    let mut begin = Vec::new();
    File::open(path)?.take(5).read_to_end(&mut begin)?;
    Ok(if begin == b"From " { Format::Mbox } else { Format::Eml })
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

/// A line with its end, cut where it is longer than any message may be; empty at the end of the file.
fn read_line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut limited = reader.take(UPLOAD_SIZE_BYTES_MAX as u64 + 1);
    limited.read_until(b'\n', &mut line)?;
    Ok(line)
}

/// The line before a message of an mbox: `From sender Thu Nov 26 13:20:11 2026`. Gives the time, if it can
/// be read; `None` where it is no such line.
fn from_line(line: &[u8]) -> Option<Option<i64>> {
    let text = String::from_utf8_lossy(line.strip_prefix(b"From ")?).into_owned();
    let date = text.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    let civil = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", &date).ok();
    Some(civil.and_then(|civil| jiff::tz::Offset::UTC.to_timestamp(civil).ok()).map(|at| at.as_second()))
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

/// What `Status` and `X-Status` say in the header of a message from an mbox.
fn status_keywords(content: &[u8]) -> Vec<String> {
    let mut keywords = Vec::new();
    for line in content.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(line).to_lowercase();
        if let Some(flags) = line.strip_prefix("status:").or_else(|| line.strip_prefix("x-status:")) {
            for (flag, keyword) in [('r', "$seen"), ('a', "$answered"), ('f', "$flagged"), ('t', "$draft")] {
                if flags.contains(flag) && !keywords.iter().any(|known| known == keyword) {
                    keywords.push(keyword.to_owned());
                }
            }
        }
    }
    keywords
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
    fn the_line_before_a_message_tells_its_time() {
        assert_eq!(from_line(b"From a@b.example Thu Jan  1 00:01:00 1970\n"), Some(Some(60)));
        assert_eq!(from_line(b"From MAILER-DAEMON sometime\n"), Some(None));
        assert_eq!(from_line(b"Subject: x\n"), None);
    }

    #[test]
    fn flags_are_keywords() {
        assert_eq!(flags("1.a:2,FRS").0, ["$flagged", "$answered", "$seen"]);
        assert_eq!(flags("1.a:2,ST"), (vec!["$seen".to_owned()], true));
        assert_eq!(flags("1.a"), (vec![], false));
        assert_eq!(
            status_keywords(b"Status: RO\r\nX-Status: AF\r\n\r\nStatus: T"),
            ["$seen", "$answered", "$flagged"]
        );
    }

    #[test]
    fn lines_end_as_in_mail() {
        assert_eq!(with_crlf(b"a\nb\r\nc\rd\n\n"), b"a\r\nb\r\nc\rd\r\n\r\n");
    }
}
