//! `make demo`: the main story on the real binary, told in readable lines. Mail comes in over SMTP, two
//! agents race for a conversation, one answers, the server is killed, and everything is still there.
//!
//! Everything goes through the doors that anybody has: the command line, SMTP, HTTP with JMAP. Nothing of
//! the library is called, so that what is shown is what ships. A step that isn't as told ends the story
//! with a non-zero exit. With EXIT=1, or `--exit`, the demo ends after the story; otherwise it leaves the
//! server up until Ctrl-C.

mod agent;
mod relay;
mod server;
mod smtp;
mod story;

use std::error::Error;
use std::process::ExitCode;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the story says next; the demo fails where it isn't so.
fn told(is_so: bool, what: impl AsRef<str>) -> Outcome<()> {
    if is_so {
        println!("   ✓ {}", what.as_ref());
        return Ok(());
    }
    Err(format!("not as told: {}", what.as_ref()).into())
}

fn step(title: &str) {
    println!("\n── {title}");
}

#[tokio::main]
async fn main() -> ExitCode {
    let ends = std::env::args().any(|argument| argument == "--exit")
        || std::env::var("EXIT").is_ok_and(|value| !value.is_empty() && value != "0");
    match story::play(ends).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n   ✗ {error}");
            ExitCode::FAILURE
        }
    }
}
