//! An SMTP client that waits for each 250 before its next message, as a gateway does.

use crate::Outcome;
use crate::letters::Letters;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One connection.
pub struct Gateway {
    stream: BufReader<TcpStream>,
}

impl Gateway {
    pub fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut gateway = Self { stream: BufReader::new(stream) };
        gateway.expect("220")?;
        gateway.say("EHLO bench.example\r\n")?;
        gateway.expect("250")?;
        Ok(gateway)
    }

    /// Sends one message; returns once its 250 has come.
    pub fn send(&mut self, letter: &str) -> Outcome<()> {
        self.say("MAIL FROM:<customer@example.net>\r\nRCPT TO:<support@bench.example>\r\nDATA\r\n")?;
        self.expect("250")?;
        self.expect("250")?;
        self.expect("354")?;
        let mut stream = self.stream.get_ref();
        stream.write_all(letter.as_bytes())?;
        stream.write_all(b".\r\n")?;
        self.expect("250")
    }

    fn say(&mut self, text: &str) -> Outcome<()> {
        Ok(self.stream.get_ref().write_all(text.as_bytes())?)
    }

    fn expect(&mut self, code: &str) -> Outcome<()> {
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if !line.starts_with(code) {
                return Err(format!("SMTP said {line:?} in place of {code}").into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// Delivers the messages with those numbers on so many connections; gives their octets.
pub fn deliver(
    address: SocketAddr,
    letters: &Letters,
    numbers: Range<usize>,
    connections: usize,
) -> Outcome<u64> {
    let (next, bytes) = (AtomicUsize::new(numbers.start), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let worker = || -> Outcome<()> {
            let mut gateway = Gateway::connect(address)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return Ok(());
                }
                let letter = letters.letter(number);
                bytes.fetch_add(letter.len() as u64, Ordering::Relaxed);
                gateway.send(&letter)?;
            }
        };
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker.join().map_err(|_| "a client panicked")??;
        }
        Ok(bytes.load(Ordering::Relaxed))
    })
}
