//! Customers: they write, and some answer what they get, by SMTP through a gateway.

use crate::ledger::Ledger;
use crate::{Dice, Outcome};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const SUPPORT: &str = "support@agents.example";
const CONNECTIONS: usize = 16;
/// Of a hundred replies so many are answered by their customers …
const ANSWERED_PERCENT: usize = 40;
/// … and so many by a machine, which mustn't open anything.
const AUTOMATIC_PERCENT: usize = 5;

pub struct Customers {
    smtp: SocketAddr,
    ledger: Arc<Ledger>,
    seed: usize,
}

impl Customers {
    pub fn new(smtp: SocketAddr, ledger: Arc<Ledger>, seed: usize) -> Self {
        Self { smtp, ledger, seed }
    }

    /// So many customers write for the first time.
    pub fn write_first(&self, count: usize) -> Outcome<()> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let worker = || -> Outcome<()> {
                let mut gateway = Gateway::connect(self.smtp)?;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok(());
                    }
                    let from = format!("customer-{number}@customers.example");
                    let text = letter(&from, &format!("first-{number}"), &format!("Question {number}"), "");
                    gateway.deliver(&from, &text)?;
                }
            };
            let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(worker)).collect();
            for worker in workers {
                worker.join().map_err(|_| "a customer panicked")??;
            }
            Ok(())
        })
    }

    /// Reads what the relay took, and answers some of it, until it is told to stop.
    pub fn answer(&self, stop: Arc<AtomicBool>) -> JoinHandle<Outcome<()>> {
        let (smtp, ledger, mut dice) =
            (self.smtp, Arc::clone(&self.ledger), Dice::new(self.seed, usize::MAX / 3));
        std::thread::spawn(move || {
            let mut gateway = Gateway::connect(smtp)?;
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                for reply in ledger.unread() {
                    let draw = dice.below(100);
                    if draw >= ANSWERED_PERCENT + AUTOMATIC_PERCENT {
                        continue;
                    }
                    number += 1;
                    let by_machine =
                        if draw >= ANSWERED_PERCENT { "Auto-Submitted: auto-replied\r\n" } else { "" };
                    let headers = format!(
                        "In-Reply-To: <{0}>\r\nReferences: <{1}> <{0}>\r\n{by_machine}",
                        reply.message_id, reply.in_reply_to
                    );
                    let text = letter(&reply.to, &format!("answer-{number}"), "Re: Question", &headers);
                    gateway.deliver(&reply.to, &text)?;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        })
    }
}

fn letter(from: &str, id: &str, subject: &str, headers: &str) -> String {
    format!(
        "Date: Tue, 17 Nov 2026 10:00:00 +0000\r\nFrom: {from}\r\nTo: {SUPPORT}\r\nSubject: {subject}\r\n\
         Message-ID: <{id}@customers.example>\r\n{headers}MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nThis is {id}: could you look at it, please?\r\n"
    )
}

/// A gateway's connection.
struct Gateway {
    stream: BufReader<TcpStream>,
}

impl Gateway {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut gateway = Self { stream: BufReader::new(stream) };
        gateway.expect("220")?;
        gateway.say("EHLO gateway.example\r\n", &["250"])?;
        Ok(gateway)
    }

    fn deliver(&mut self, from: &str, text: &str) -> Outcome<()> {
        let envelope = format!("MAIL FROM:<{from}>\r\nRCPT TO:<{SUPPORT}>\r\nDATA\r\n");
        self.say(&envelope, &["250", "250", "354"])?;
        self.say(&format!("{text}.\r\n"), &["250"])
    }

    fn say(&mut self, text: &str, replies: &[&str]) -> Outcome<()> {
        self.stream.get_ref().write_all(text.as_bytes())?;
        replies.iter().try_for_each(|code| self.expect(code))
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
