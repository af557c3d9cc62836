//! A thousand gateways that say nothing: what each costs in memory, that one more is told so, and what
//! intake is worth beside them.

use crate::server::Server;
use crate::smtp::Gateway;
use crate::table::{Spread, row};
use crate::{Load, Outcome};

/// As many as a server takes by default.
const CONNECTIONS: usize = 1000;
/// Of them, those that end so that as many senders have room.
const SENDERS: usize = 32;
const MESSAGES: usize = 500;

pub fn measure(server: &Server, load: &mut Load) -> Outcome<()> {
    server.wait_until_idle()?;
    let before = server.memory_bytes()?;
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        match Gateway::connect(server.smtp) {
            Ok(gateway) => idle.push(gateway),
            // Both processes need a descriptor for each.
            Err(error) => {
                println!("idle connections: {number} of {CONNECTIONS}, then {error}; is `ulimit -n` 4096?");
                break;
            }
        }
    }
    server.wait_until_idle()?;
    let after = server.memory_bytes()?;
    let each = after.saturating_sub(before) as f64 / 1024.0 / idle.len().max(1) as f64;
    println!(
        "\n{} idle SMTP connections: VmRSS {:.0} MiB, {:.0} MiB before; {each:.1} KiB each",
        idle.len(),
        after as f64 / 1_048_576.0,
        before as f64 / 1_048_576.0
    );
    if idle.len() == CONNECTIONS {
        match Gateway::connect(server.smtp) {
            Ok(_) => println!("one more is taken as well"),
            Err(refused) => println!("one more: {refused}"),
        }
    }
    idle.truncate(idle.len().saturating_sub(SENDERS));
    server.wait_until_idle()?;
    let cpu = server.cpu_seconds()?;
    let seconds = load.deliver(server, SENDERS, MESSAGES)?;
    server.wait_until_idle()?;
    let cpu = (server.cpu_seconds()? - cpu) / MESSAGES as f64;
    let rate = MESSAGES as f64 / seconds;
    let name = format!("SMTP intake until indexed, {SENDERS} conn beside {} idle ({rate:.0}/s)", idle.len());
    row(&name, load.sent, &Spread::of(vec![seconds / MESSAGES as f64]), &Spread::of(vec![cpu]));
    Ok(())
}
