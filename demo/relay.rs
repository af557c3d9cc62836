//! A relay that accepts everything and keeps it, so that the story can count what was sent. It is a
//! peer of the server's outbound side only; it delivers nothing.

use crate::Outcome;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One message that the relay accepted.
#[derive(Clone, Debug)]
pub struct Captured {
    pub recipients: Vec<String>,
    pub data: String,
}

pub struct Relay {
    pub address: SocketAddr,
    accepted: Arc<Mutex<Vec<Captured>>>,
}

impl Relay {
    pub async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let kept = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    if let Err(error) = session(stream, &kept).await {
                        eprintln!("   relay: {error}");
                    }
                });
            }
        });
        Ok(Self { address, accepted })
    }

    pub fn accepted(&self) -> Vec<Captured> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn session(stream: TcpStream, accepted: &Mutex<Vec<Captured>>) -> Outcome<()> {
    let mut stream = BufReader::new(stream);
    let mut recipients = Vec::new();
    let mut line = String::new();
    stream.write_all(b"220 relay.example ESMTP\r\n").await?;
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end();
        let verb = command.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-relay.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES",
            "HELO" | "NOOP" => "250 2.0.0 OK",
            "MAIL" | "RSET" => {
                recipients.clear();
                "250 2.1.0 OK"
            }
            "RCPT" => {
                recipients.push(command.split(['<', '>']).nth(1).unwrap_or("").to_string());
                "250 2.1.5 OK"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let data = data(&mut stream).await?;
                let message = Captured { recipients: std::mem::take(&mut recipients), data };
                accepted.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                "250 2.0.0 taken"
            }
            "QUIT" => {
                stream.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => "500 5.5.1 unknown",
        };
        stream.write_all(reply.as_bytes()).await?;
        stream.write_all(b"\r\n").await?;
    }
}

async fn data(stream: &mut BufReader<TcpStream>) -> Outcome<String> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err("the connection ended within a message".into());
        }
        if line == b".\r\n" {
            return Ok(String::from_utf8_lossy(&message).into_owned());
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
