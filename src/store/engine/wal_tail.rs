//! Cuts what a loss of power left at the end of the newest write-ahead log where the engine would read it
//! for ever.
//!
//! A log is a row of blocks of 32 KiB; a record starts with a masked CRC, its length and its type. RocksDB
//! 11.8 answers a record of a type for reused logs, in a log that isn't reused, without going on behind it:
//! its reader asks again, gets the same answer, and the store never opens. Octets that nobody wrote can look
//! so. Point-in-time recovery ends before such a record anyway, so the log is cut there.
//!
//! Checksums aren't looked at: behind a damaged record the engine takes nothing, so a cut there loses
//! nothing either.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::Path;

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 7;
/// Types of records in reused logs: whole, first, middle, last, sizes of timestamps, the log before.
const REUSED_TYPES: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Cuts the newest log of a closed store.
pub fn cut(dir: &Path) -> io::Result<()> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if path.extension().is_some_and(|extension| extension == "log") {
            newest = newest.max(number.map(|number| (number, path)));
        }
    }
    let Some((_, path)) = newest else { return Ok(()) };
    let Some(end) = sound_end(File::open(&path)?)? else { return Ok(()) };
    tracing::warn!(log = %path.display(), end, "the write-ahead log ends in what nobody wrote: it is cut there");
    let log = OpenOptions::new().write(true).open(&path)?;
    log.set_len(end)?;
    log.sync_all()
}

/// Where the first record begins that would hold the engine; `None`: nowhere.
fn sound_end(log: impl Read) -> io::Result<Option<u64>> {
    let mut log = BufReader::new(log);
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut start = 0;
    loop {
        block.clear();
        log.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if let Some(at) = reused(&block, start == 0) {
            return Ok(Some(start + at as u64));
        }
        if block.len() < BLOCK_BYTES {
            return Ok(None);
        }
        start += BLOCK_BYTES as u64;
    }
}

/// The first record of a block that looks like one of a reused log. That the log's own first record does
/// is no harm: the engine then expects such ones.
fn reused(block: &[u8], is_first: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(&[_, _, _, _, low, high, kind]) = block.get(at..at + HEADER_BYTES) {
        if REUSED_TYPES.contains(&kind) && !(is_first && at == 0) {
            return Some(at);
        }
        if kind == 0 {
            return None;
        }
        at += HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut out = vec![1, 2, 3, 4];
        out.extend(length.to_le_bytes());
        out.push(kind);
        out.resize(HEADER_BYTES + usize::from(length), 9);
        out
    }

    #[test]
    fn a_log_is_cut_where_a_record_of_a_reused_log_begins_and_nowhere_else() {
        let end = |bytes: &[u8]| sound_end(bytes).unwrap();
        let sound = [record(1, 100), record(2, 32_768 - 107 - 7), record(4, 50)].concat();
        assert_eq!(end(&sound), None);
        for kind in REUSED_TYPES {
            assert_eq!(end(&[sound.clone(), record(kind, 3)].concat()), Some(sound.len() as u64), "{kind}");
            let across = [record(1, 100), record(1, 60_000)].concat();
            let mut across = [across[..BLOCK_BYTES].to_vec(), record(kind, 60_000)].concat();
            assert_eq!(end(&across), Some(BLOCK_BYTES as u64), "{kind} behind a length that can't be");
            across.truncate(BLOCK_BYTES + 6);
            assert_eq!(end(&across), None, "no whole header");
            assert_eq!(end(&record(kind, 3)), None, "{kind} first: the log is a reused one");
        }
        assert_eq!(end(&[sound.clone(), vec![0; 100]].concat()), None, "zeros are the engine's business");
        assert_eq!(end(&[]), None);
    }

    #[test]
    fn only_the_newest_log_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let broken = [record(1, 10), record(8, 10)].concat();
        for name in ["000009.log", "000010.log", "000011.sst", "LOG"] {
            fs::write(dir.path().join(name), &broken).unwrap();
        }
        cut(dir.path()).unwrap();
        let lengths: Vec<u64> = ["000009.log", "000010.log", "000011.sst"]
            .iter()
            .map(|name| fs::metadata(dir.path().join(name)).unwrap().len())
            .collect();
        assert_eq!(lengths, [34, 17, 34]);
    }
}
