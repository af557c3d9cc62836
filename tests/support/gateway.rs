//! A mail gateway at the other end of a socket: lines in, replies out.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// One connection.
pub struct Gateway {
    stream: BufReader<TcpStream>,
}

impl Gateway {
    /// Connects and says EHLO.
    pub async fn connect(address: &str) -> Self {
        let mut gateway = Self::raw(address).await;
        assert!(gateway.reply().await.starts_with("220 "));
        assert!(gateway.say("EHLO gateway.example").await.starts_with("250-"));
        gateway
    }

    /// Connects to a server that may die, and says EHLO.
    pub async fn try_connect(address: &str) -> Option<Self> {
        let mut gateway = Self { stream: BufReader::new(TcpStream::connect(address).await.ok()?) };
        gateway.reply().await.starts_with("220 ").then_some(())?;
        gateway.send(b"EHLO gateway.example\r\n").await.ok()?;
        gateway.reply().await.starts_with("250-").then_some(gateway)
    }

    /// Delivers to a server that may die; the reply to the final dot, however much of it came.
    pub async fn try_deliver(&mut self, from: &str, to: &str, message: &str) -> Option<String> {
        for line in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            self.send(format!("{line}\r\n").as_bytes()).await.ok()?;
            self.reply().await.starts_with(['2', '3']).then_some(())?;
        }
        self.send(format!("{message}.\r\n").as_bytes()).await.ok()?;
        Some(self.reply().await)
    }

    /// Connects and says nothing.
    pub async fn raw(address: &str) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(address).await.expect("a connection")) }
    }

    /// Sends octets; whether the server still reads them is the caller's to find out.
    pub async fn send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets).await
    }

    /// Sends a line and gives the whole reply, its lines separated by LF.
    pub async fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes()).await.expect("the server reads");
        self.reply().await
    }

    /// The next whole reply; what came so far where the server closes the connection.
    pub async fn reply(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).await;
            whole.push_str(line.trim_end());
            if !matches!(read, Ok(read) if read > 0) || line.as_bytes().get(3) != Some(&b'-') {
                return whole;
            }
            whole.push('\n');
        }
    }

    /// Delivers a message; gives the reply to the final dot, or the first refusal before it.
    pub async fn deliver(&mut self, from: &str, to: &[&str], message: &str) -> String {
        let mut script = vec![format!("MAIL FROM:<{from}>")];
        script.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
        for line in script {
            let reply = self.say(&line).await;
            if !reply.starts_with("250") {
                return reply;
            }
        }
        let reply = self.say("DATA").await;
        if !reply.starts_with("354") {
            return reply;
        }
        let content = message.replace("\r\n.", "\r\n..");
        if self.send(content.as_bytes()).await.is_err() || self.send(b".\r\n").await.is_err() {
            return String::new();
        }
        self.reply().await
    }

    /// QUIT.
    pub async fn quit(mut self) {
        assert_eq!(self.say("QUIT").await, "221 2.0.0 Bye");
    }
}
