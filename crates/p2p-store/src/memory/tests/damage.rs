//! What a disk or another version has left, and what of it counts.

use std::io;

use super::*;

const FILE: &str = "/d/peers.json";
const JOURNAL: &str = "/d/peers.json.journal";

fn read(disk: &SimDisk, path: &str) -> String {
    let mut disk: Box<dyn super::super::disk::Disk> = Box::new(disk.clone());
    String::from_utf8(disk.read(Path::new(path)).unwrap().unwrap()).unwrap()
}

/// What is done to a record so that only a newer version can read it.
fn renewed(text: &str) -> String {
    text.replace("\"Banned\"", "\"Suspended\"")
}

/// A line of a journal, as if it had been written so.
fn reframed(line: &str) -> Vec<u8> {
    let json: serde_json::Value =
        serde_json::from_str(line.splitn(3, ' ').nth(2).unwrap()).unwrap();
    super::super::journal::framed(&json)
}

#[test]
fn a_number_that_nothing_vouches_for_hides_no_ban() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(1)]).unwrap();
    bench.writer.save_now().unwrap();
    bench.change(vec![Change::Ban(2)]).unwrap();
    let whole = read(&disk, FILE);
    assert!(whole.contains("\"covered\":1,"));
    let checksum = whole.rfind(",\"checksum\"").unwrap();
    let unsigned = format!("{}}}\n", &whole[..checksum]);
    for covered in ["9", "18446744073709551615"] {
        for file in [&whole, &unsigned] {
            let disk = disk.after_power_loss(0);
            let covered = format!("\"covered\":{covered},");
            let file = file.replace("\"covered\":1,", &covered);
            disk.put(Path::new(FILE), file.as_bytes());
            let mut bench = Bench::open(&disk).unwrap();
            assert!(bench.banned(1) && bench.banned(2), "{covered}");
            bench.change(vec![Change::Ban(3)]).unwrap();
            let bench = Bench::open(&disk.after_power_loss(0)).unwrap();
            assert!(bench.banned(2) && bench.banned(3), "{covered}");
        }
    }
}

/// Whoever may not read the bans now may read them later: nothing starts without them.
#[test]
fn a_file_that_cannot_be_read_now_is_no_damaged_one() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(1)]).unwrap();
    bench.writer.save_now().unwrap();
    bench.change(vec![Change::Ban(2)]).unwrap();
    let names = disk.names();
    for path in [FILE, JOURNAL] {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::Other] {
            disk.refuse_to_read(path, Some(kind));
            let refused = Bench::open(&disk).unwrap_err();
            let StoreError::Io { path: named, .. } = &refused else {
                panic!("{refused:?}");
            };
            assert_eq!(named, Path::new(path));
            assert_eq!(disk.names(), names, "nothing is set aside");
        }
        disk.refuse_to_read(path, None);
    }
    let bench = Bench::open(&disk).unwrap();
    assert!(bench.banned(1) && bench.banned(2));
}

#[test]
fn a_ban_that_its_own_batch_displaced_stays_away() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    let mut newcomer = peer(1);
    newcomer.id = peer(2).id;
    let batch = vec![Arc::new(banned(1)), Arc::new(newcomer)];
    let entry = bench.writer.shared.write().put(batch).unwrap();
    let (done, _) = oneshot::channel();
    bench.writer.work([Job::Record(entry, done)].into_iter());
    assert!(!bench.has(1));
    let after = Bench::open(&disk.after_power_loss(0)).unwrap();
    assert!(!after.has(1));
}

#[test]
fn the_end_of_a_ban_survives_that_its_own_batch_displaced_the_record() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(1)]).unwrap();
    let mut newcomer = peer(1);
    newcomer.id = peer(2).id;
    let batch = vec![Arc::new(peer(1)), Arc::new(newcomer)];
    let entry = bench.writer.shared.write().put(batch).unwrap();
    let (done, _) = oneshot::channel();
    bench.writer.work([Job::Record(entry, done)].into_iter());
    let after = Bench::open(&disk.after_power_loss(0)).unwrap();
    assert!(!after.has(1));
}

/// A version that can read the record would let it win over the ban.
#[test]
fn a_ban_replaces_a_record_that_cannot_be_read() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(1), Change::Ban(2)]).unwrap();
    bench.writer.save_now().unwrap();
    let newer = renewed(&read(&disk, FILE));
    disk.put(Path::new(FILE), newer.as_bytes());

    let mut bench = Bench::open(&disk).unwrap();
    assert!(!bench.has(1) && !bench.has(2));
    bench.change(vec![Change::Ban(1)]).unwrap();
    bench.writer.save_now().unwrap();
    let of = |n: u8| read(&disk, FILE).matches(&peer(n).id.to_string()).count();
    assert_eq!((of(1), of(2)), (1, 1));
    assert_eq!(read(&disk, FILE).matches("Suspended").count(), 1);

    // It does not come back when the ban is lifted and forgotten.
    bench.change(vec![Change::Forget(1)]).unwrap();
    bench.writer.save_now().unwrap();
    assert_eq!((of(1), of(2)), (0, 1));
}

#[test]
fn of_two_records_in_files_of_which_one_cannot_be_read_the_later_counts() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(1), Change::Ban(2)]).unwrap();
    bench.writer.save_now().unwrap();
    bench.change(vec![Change::Put(1)]).unwrap();
    bench.change(vec![Change::Ban(1)]).unwrap();
    bench.change(vec![Change::Forget(2)]).unwrap();
    let (file, journal) = (read(&disk, FILE), read(&disk, JOURNAL));

    // The ban of the journal is a newer version's: what the file has of it is stale.
    let newer: Vec<u8> = renewed(&journal).lines().flat_map(reframed).collect();
    let upgraded = disk.after_power_loss(0);
    upgraded.put(Path::new(JOURNAL), &newer);
    let mut bench = Bench::open(&upgraded).unwrap();
    assert!(!bench.has(1));
    bench.writer.save_now().unwrap();
    let saved = read(&upgraded, FILE);
    assert_eq!(saved.matches(&peer(1).id.to_string()).count(), 1);
    assert_eq!(saved.matches("Suspended").count(), 1);

    // And the other way round: what the journal says comes after the file.
    disk.put(Path::new(FILE), renewed(&file).as_bytes());
    let mut bench = Bench::open(&disk).unwrap();
    assert!(bench.banned(1) && !bench.has(2));
    bench.writer.save_now().unwrap();
    let saved = read(&disk, FILE);
    assert_eq!(saved.matches("Suspended").count(), 0, "{saved}");
    assert_eq!(saved.matches(&peer(2).id.to_string()).count(), 0);
}

#[test]
fn a_journal_without_a_whole_line_is_copied_once() {
    let disk = SimDisk::default();
    disk.put(Path::new(JOURNAL), b"nothing that we wrote\n");
    for _ in 0..3 {
        Bench::open(&disk).unwrap();
        let names = disk.names();
        let copies = names.iter().filter(|name| name.contains("damaged"));
        assert_eq!(copies.count(), 1, "{names:?}");
    }
}
