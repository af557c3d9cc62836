//! An HTTP/1.1 client on one connection that is kept open, with no more than agents need.

use crate::Outcome;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub struct Http {
    stream: BufReader<TcpStream>,
    authorization: String,
}

impl Http {
    pub fn connect(address: SocketAddr, authorization: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), authorization: authorization.to_owned() })
    }

    pub fn get(&mut self, path: &str) -> Outcome<Value> {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: agents\r\nAuthorization: {}\r\n\r\n", self.authorization);
        self.exchange(&head)
    }

    /// The method responses of a request.
    pub fn calls(&mut self, using: &[&str], calls: Value) -> Outcome<Vec<Value>> {
        let body = json!({"using": using, "methodCalls": calls}).to_string();
        let request = format!(
            "POST /jmap HTTP/1.1\r\nHost: agents\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        let mut answer = self.exchange(&request)?;
        match answer["methodResponses"].take() {
            Value::Array(responses) => Ok(responses),
            _ => Err(answer.to_string().into()),
        }
    }

    fn exchange(&mut self, request: &str) -> Outcome<Value> {
        self.stream.get_ref().write_all(request.as_bytes())?;
        let (mut line, mut length, mut status) = (String::new(), None, String::new());
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            let text = line.trim_end();
            if status.is_empty() {
                text.clone_into(&mut status);
            }
            if text.is_empty() {
                break;
            }
            if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.ok_or("an answer without Content-Length")?];
        self.stream.read_exact(&mut body)?;
        if !status.contains(" 200") {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(serde_json::from_slice(&body)?)
    }
}
