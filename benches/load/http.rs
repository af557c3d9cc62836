//! An HTTP/1.1 client on one connection that is kept open; it does no more than the benches need, so that
//! the client's own work on the shared cores is small.

use crate::Outcome;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::time::Instant;

/// One connection with credentials.
pub struct Http {
    stream: BufReader<TcpStream>,
    authorization: String,
    body: Vec<u8>,
}

impl Http {
    pub fn connect(address: SocketAddr, authorization: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
            authorization: authorization.to_owned(),
            body: Vec::new(),
        })
    }

    /// `POST /jmap`; the answer's octets.
    pub fn post(&mut self, body: &str) -> Outcome<&[u8]> {
        let request = format!(
            "POST /jmap HTTP/1.1\r\nHost: bench\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        self.exchange(&request)
    }

    /// `GET path`; the answer as JSON.
    pub fn get(&mut self, path: &str) -> Outcome<Value> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: {}\r\n\r\n", self.authorization);
        Ok(serde_json::from_slice(self.exchange(&request)?)?)
    }

    /// `POST /jmap` of method calls; their responses.
    pub fn calls(&mut self, calls: Value) -> Outcome<Vec<Value>> {
        let body = crate::operations::request(&calls);
        let answer: Value = serde_json::from_slice(self.post(&body)?)?;
        Ok(answer["methodResponses"].as_array().cloned().ok_or_else(|| answer.to_string())?)
    }

    fn exchange(&mut self, request: &str) -> Outcome<&[u8]> {
        self.stream.get_ref().write_all(request.as_bytes())?;
        let length = self.head()?.ok_or("an answer without Content-Length")?;
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(&self.body)
    }

    /// Reads the head; gives the Content-Length.
    fn head(&mut self) -> Outcome<Option<usize>> {
        let (mut line, mut length, mut first) = (String::new(), None, true);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            let text = line.trim_end();
            if first && !text.contains(" 200") {
                return Err(format!("HTTP said {text}").into());
            }
            first = false;
            if text.is_empty() {
                return Ok(length);
            }
            if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse()?);
            }
        }
    }

    /// Opens an EventSource channel for the types, and tells `heard` when each event comes, until the stream that
    /// it gives is shut down.
    pub fn events(mut self, types: &str, heard: Sender<Instant>) -> Outcome<TcpStream> {
        let request = format!(
            "GET /jmap/eventsource?types={types}&closeafter=no&ping=0 HTTP/1.1\r\nHost: bench\r\n\
             Authorization: {}\r\n\r\n",
            self.authorization
        );
        self.stream.get_ref().write_all(request.as_bytes())?;
        self.head()?;
        let channel = self.stream.get_ref().try_clone()?;
        std::thread::spawn(move || {
            let mut line = String::new();
            while self.stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line.starts_with("data:") && heard.send(Instant::now()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(channel)
    }
}
