//! A relay that takes everything at once and keeps what it took.

use crate::Outcome;
use crate::ledger::{Ledger, Reply};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

pub struct Relay {
    pub address: SocketAddr,
}

impl Relay {
    pub fn start(ledger: Arc<Ledger>) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ledger = Arc::clone(&ledger);
                // A connection that breaks is the server's to try again.
                std::thread::spawn(move || session(stream, &ledger));
            }
        });
        Ok(Self { address })
    }
}

fn session(stream: TcpStream, ledger: &Ledger) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut to = String::new();
    let mut line = String::new();
    say(&stream, "220 relay.example ESMTP")?;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.split([' ', ':', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-relay.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES",
            "RCPT" => {
                line.split(['<', '>']).nth(1).unwrap_or_default().clone_into(&mut to);
                "250 2.1.5 OK"
            }
            "DATA" => {
                say(&stream, "354 go on")?;
                let mut reply = message(&mut stream)?;
                reply.to.clone_from(&to);
                ledger.take(reply);
                "250 2.0.0 taken"
            }
            "QUIT" => return say(&stream, "221 2.0.0 bye"),
            _ => "250 2.0.0 OK",
        };
        say(&stream, reply)?;
    }
}

fn say(stream: &BufReader<TcpStream>, text: &str) -> Outcome<()> {
    Ok(stream.get_ref().write_all(format!("{text}\r\n").as_bytes())?)
}

fn message(stream: &mut BufReader<TcpStream>) -> Outcome<Reply> {
    let mut reply = Reply {
        message_id: String::new(),
        in_reply_to: String::new(),
        to: String::new(),
        token: String::new(),
    };
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err("the connection ended within a message".into());
        }
        let text = line.trim_end();
        if text == "." {
            return Ok(reply);
        }
        let id = || text.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let name = text.split(':').next().unwrap_or_default();
        if name.eq_ignore_ascii_case("Message-ID") {
            reply.message_id = id();
        } else if name.eq_ignore_ascii_case("In-Reply-To") {
            reply.in_reply_to = id();
        } else if let Some(token) = text.strip_prefix("token ") {
            token.clone_into(&mut reply.token);
        }
    }
}
