//! Any octets as a bounce: by themselves, as the delivery-status part of a report (RFC 3464), and as the text
//! of one without a standard form. Reading never panics, and what is shown of it fits into `smtpReply`.

use postroom::mail::bounce;
use postroom::mail::parse::parse;
use postroom::mail::reports::{self, Reported};
use postroom::types::Address;
use postroom::types::limits::SMTP_REPLY_TEXT_BYTES_MAX;

pub fn drive(octets: &[u8]) {
    read(octets);
    let report = [
        b"From: MAILER-DAEMON@mx.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report;\r\n \
          report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nSorry.\r\n--b\r\n\
          Content-Type: message/delivery-status\r\n\r\n"
            .as_slice(),
        octets,
        b"\r\n--b--\r\n",
    ];
    read(&report.concat());
    read(&[b"From: Mailer-Daemon@mx.example\r\nSubject: failure notice\r\n\r\n", octets].concat());
}

fn read(content: &[u8]) {
    let message = parse(content);
    if let Some(report) = reports::read(&message, content) {
        report.recipients.iter().for_each(fits);
    }
    let known = ["marta@customer.example", "sven@customer.example"];
    let known: Vec<Address> = known.iter().filter_map(|text| Address::parse(text)).collect();
    for null_path in [true, false] {
        let Some(notice) = bounce::notice(&message, content, null_path) else { continue };
        let _ = notice.is_lost();
        for about in [&known[..], &known[..1], &[]] {
            let about: Vec<&Address> = about.iter().collect();
            let told = notice.of(&about);
            assert!(told.len() <= about.len(), "more is told than was asked");
            told.iter().for_each(fits);
        }
    }
}

fn fits(told: &Reported) {
    let reply = &told.reply;
    assert!(reply.len() <= SMTP_REPLY_TEXT_BYTES_MAX, "{} octets of a reply", reply.len());
    assert!(!reply.contains(['\r', '\n']), "{reply:?} has more than one line");
    assert!(reply.bytes().take(3).all(|octet| octet.is_ascii_digit()), "{reply:?} begins with no code");
}
