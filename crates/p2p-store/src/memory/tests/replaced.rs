//! Files that a save has replaced: their room goes back in pieces, and nobody else's is touched.

use super::*;

fn fill(bench: &Bench, peers: u32) {
    let many = (0..peers).map(|n| {
        let ip = IpAddr::from(n.to_be_bytes());
        let then = Timestamp::from_millis(1_700_000_000_000);
        let address = (ip, 8333).into();
        Arc::new(Peer::new(Network::Mainnet, address, PeerSource::Dns, then))
    });
    bench.writer.shared.write().put(many.collect());
}

/// A store that has saved twice: what the second save replaced is held.
fn saved_twice(peers: u32) -> Bench {
    let mut bench = Bench::open(&SimDisk::default()).unwrap();
    fill(&bench, peers);
    bench.writer.save_now().unwrap();
    bench.change(vec![Change::Put(1)]).unwrap();
    bench.writer.save_now().unwrap();
    bench.change(vec![Change::Put(2)]).unwrap();
    bench
}

#[test]
fn the_next_save_gives_back_a_piece_a_step() {
    let mut bench = saved_twice(4_000);
    let whole = bench.disk.nameless();
    assert!(whole > 1 << 20, "enough for several pieces");
    let mut left = whole;
    let mut saved = bench.begin();
    while saved.try_recv().is_err() {
        bench.step();
        let now = bench.disk.nameless();
        assert!(left.saturating_sub(now) <= 256 << 10, "{left} to {now}");
        left = now.min(left);
    }
    assert_eq!(left, 0, "before the next one was replaced");
    assert!(bench.disk.nameless() > 1 << 20, "which is whole meanwhile");
}

#[test]
fn one_that_cannot_be_cut_fails_no_save() {
    let mut bench = saved_twice(10);
    let whole = bench.disk.nameless();
    bench.disk.refuse_to_shrink();
    bench.writer.save_now().unwrap();
    assert!(bench.disk.nameless() > whole, "it was not cut");
    let after = Bench::open(&bench.disk.after_power_loss(0)).unwrap();
    assert!(after.has(1) && after.has(2));
}

/// Power goes at every operation of the save that cuts what the one before it has replaced.
#[test]
fn no_loss_of_power_brings_back_what_was_cut() {
    const PEERS: u32 = 10;
    let count = {
        let mut bench = saved_twice(PEERS);
        let before = bench.disk.operations();
        bench.writer.save_now().unwrap();
        bench.disk.operations() - before
    };
    for operations in 0..=count {
        let mut bench = saved_twice(PEERS);
        bench.disk.cut_power_after(operations);
        let _ = bench.writer.save_now();
        for luck in 0..32 {
            let disk = bench.disk.after_power_loss(luck);
            let after = Bench::open(&disk).unwrap();
            let peers = after.writer.shared.read().index.len() as u32;
            assert!(peers > PEERS, "power cut at {operations}, luck {luck}");
            let is_damaged = disk.names().iter().any(|name| name.contains("corrupt"));
            assert!(!is_damaged, "power cut at {operations}, luck {luck}");
        }
    }
}

#[cfg(unix)]
mod on_a_disk {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::super::super::disk::{Disk, RealDisk};
    use super::super::super::load::load;
    use super::*;

    /// A folder of its own, with a store in it, that goes with it.
    struct Place {
        folder: PathBuf,
        writer: Writer,
        count: u8,
    }

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("p2p-store-replaced-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join("peers.json");
            let disk = Box::new(RealDisk::new(&file));
            let writer = load(disk, Paths::of(&file)).unwrap();
            let mut place = Self {
                folder,
                writer,
                count: 0,
            };
            place.save();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.join(name)
        }

        fn file(&self) -> PathBuf {
            self.path("peers.json")
        }

        /// Saves, with something to save.
        fn save(&mut self) {
            self.count += 1;
            let peers = vec![Arc::new(peer(self.count))];
            self.writer.shared.write().put(peers);
            self.writer.save_now().unwrap();
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }

    fn read(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn who_reads_a_file_has_until_the_save_after_the_next_begins() {
        let mut place = Place::new("reader");
        let bytes = fs::read(place.file()).unwrap();
        let [slow, slower] = [(); 2].map(|()| File::open(place.file()).unwrap());
        place.save();
        assert_eq!(read(&slow), bytes);
        place.save();
        assert!(read(&slower).is_empty(), "its room was given back");
    }

    #[test]
    fn a_hard_link_stays_whole() {
        let mut place = Place::new("link");
        let (file, backup) = (place.file(), place.path("backup.json"));
        let bytes = fs::read(&file).unwrap();
        fs::hard_link(&file, &backup).unwrap();
        for _ in 0..3 {
            place.save();
        }
        assert_eq!(fs::read(&backup).unwrap(), bytes);
    }

    #[test]
    fn one_that_was_linked_or_moved_while_it_was_held_stays_whole() {
        let place = Place::new("late");
        let (file, backup) = (place.file(), place.path("backup.json"));
        let bytes = fs::read(&file).unwrap();
        let mut disk = RealDisk::new(&file);
        let mut held = disk.hold(&file).unwrap();
        assert!(!held.shrink(1).unwrap(), "it has its name still");
        fs::rename(&file, &backup).unwrap();
        assert!(!held.shrink(1).unwrap(), "it has another name");
        assert_eq!(fs::read(&backup).unwrap(), bytes);
        assert!(disk.hold(&file).is_none(), "there is none");

        fs::hard_link(&backup, &file).unwrap();
        assert!(disk.hold(&backup).is_none(), "it has two names");
        fs::remove_file(&file).unwrap();
        fs::remove_file(&backup).unwrap();
        let length = bytes.len() as u64;
        assert!(held.shrink(length - 1).unwrap(), "it has none, and a byte");
        assert!(!held.shrink(length).unwrap());
    }

    #[test]
    fn what_a_link_or_a_pipe_stands_for_is_not_held() {
        let mut place = Place::new("symlink");
        let (file, other) = (place.file(), place.path("other.json"));
        fs::rename(&file, &other).unwrap();
        let bytes = fs::read(&other).unwrap();
        symlink(&other, &file).unwrap();
        assert!(RealDisk::new(&file).hold(&file).is_none());
        for _ in 0..3 {
            place.save();
        }
        assert_eq!(fs::read(&other).unwrap(), bytes);
        let pipe = place.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert!(
            RealDisk::new(&file).hold(&pipe).is_none(),
            "and nobody waits"
        );
    }

    /// What somebody else put there is replaced as our own is, and cut to the end whatever its size.
    #[test]
    fn the_size_is_that_of_the_file_that_is_there() {
        let mut place = Place::new("theirs");
        fs::write(place.path("theirs"), vec![b' '; 700 << 10]).unwrap();
        fs::rename(place.path("theirs"), place.file()).unwrap();
        let theirs = File::open(place.file()).unwrap();
        place.save();
        assert_eq!(theirs.metadata().unwrap().len(), 700 << 10);
        place.save();
        assert_eq!(theirs.metadata().unwrap().len(), 0);
    }

    #[test]
    fn one_that_is_dropped_is_not_cut() {
        let mut place = Place::new("dropped");
        let bytes = fs::read(place.file()).unwrap();
        let reader = File::open(place.file()).unwrap();
        place.save();
        drop(place);
        assert_eq!(read(&reader), bytes, "at shutdown");
    }

    #[test]
    fn who_may_not_read_the_file_may_not_read_what_is_made_beside_it() {
        let place = Place::new("mode");
        let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o640)).unwrap();
        let mut disk = RealDisk::new(&place.file());
        let [temporary, journal, open] =
            ["temporary", "journal", "open"].map(|name| place.path(name));
        disk.create(&temporary).unwrap();
        disk.append(&journal).unwrap();
        assert_eq!([mode(&temporary), mode(&journal)], [0o640; 2]);
        // What is there already is for its owner to open.
        fs::write(&open, "").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o606)).unwrap();
        disk.append(&open).unwrap();
        assert_eq!(mode(&open), 0o606);
    }
}
