//! A mail gateway, as small as it can be: one connection, one message after the other, every reply
//! checked.

use crate::Outcome;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub struct Gateway {
    stream: BufReader<TcpStream>,
}

impl Gateway {
    pub async fn connect(address: &str) -> Outcome<Self> {
        let mut gateway = Self { stream: BufReader::new(TcpStream::connect(address).await?) };
        gateway.expect("220").await?;
        gateway.say("EHLO gateway.example", "250").await?;
        Ok(gateway)
    }

    /// Delivers a message whose lines end in CR LF; returns once the server took responsibility.
    pub async fn deliver(&mut self, sender: &str, recipient: &str, message: &[u8]) -> Outcome<()> {
        let mut mail = format!("MAIL FROM:<{sender}> BODY=8BITMIME SIZE={}", message.len());
        let (header, _) = split(message);
        if !sender.is_ascii() || !header.is_ascii() {
            mail.push_str(" SMTPUTF8");
        }
        self.say(&mail, "250").await?;
        self.say(&format!("RCPT TO:<{recipient}>"), "250").await?;
        self.say("DATA", "354").await?;
        for line in message.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                self.stream.write_all(b".").await?;
            }
            self.stream.write_all(line).await?;
        }
        self.say(".", "250").await
    }

    pub async fn quit(mut self) -> Outcome<()> {
        self.say("QUIT", "221").await
    }

    async fn say(&mut self, line: &str, code: &str) -> Outcome<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        self.expect(code).await.map_err(|error| format!("after {line}: {error}").into())
    }

    async fn expect(&mut self, code: &str) -> Outcome<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err("the server closed the connection".into());
            }
            if !line.starts_with(code) {
                return Err(line.trim_end().into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// The envelope sender that a gateway would give: null for what answers by itself (RFC 3834 §3.3).
pub fn envelope_sender(message: &[u8]) -> String {
    let (header, _) = split(message);
    let header = String::from_utf8_lossy(header).replace("\r\n ", " ");
    let field = |name: &str| {
        header.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
        })
    };
    if field("Auto-Submitted").is_some_and(|value| value == "auto-replied") {
        return String::new();
    }
    let from = field("From").unwrap_or_default();
    match from.rsplit_once('<') {
        Some((_, address)) => address.trim_end_matches('>').to_string(),
        None => from,
    }
}

fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message.windows(4).position(|octets| octets == b"\r\n\r\n");
    end.map_or((message, &[]), |at| message.split_at(at))
}
