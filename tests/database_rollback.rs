//! The database is replaced by an older copy of itself, as when an asynchronous replica is promoted: what it lacks
//! comes again, once.

use std::path::Path;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Tally, sqlite};
use crate::support::publisher::Load;

/// A consistent copy, as a backup tool makes it.
fn back_up(file: &Path, to: &Path) {
    sqlite(file).execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

/// Puts the copy in the place of the file, without the write-ahead log that belonged to the file.
fn replace(file: &Path, by: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        // There may be none.
        let _ = std::fs::remove_file(name);
    }
    std::fs::rename(by, file).unwrap();
}

#[test]
fn an_older_sqlite_file_put_back_while_the_bridge_is_stopped_is_filled_up_again() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 300).run();
    bridge.wait_rows("readings", 300);
    back_up(&bridge.rows(), &bridge.path("older.db"));
    Load::new(broker.port(), 1, 300).numbered_from(300).run();
    bridge.wait_rows("readings", 600);
    assert!(bridge.stop().success());

    replace(&bridge.rows(), &bridge.path("older.db"));
    bridge.start();
    bridge.wait_rows("readings", 600);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..600).assert_each_once("readings");
}

#[test]
fn an_older_sqlite_file_put_back_while_the_bridge_runs_is_filled_up_again() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 300).run();
    bridge.wait_rows("readings", 300);
    back_up(&bridge.rows(), &bridge.path("older.db"));
    Load::new(broker.port(), 1, 300).numbered_from(300).run();
    bridge.wait_rows("readings", 600);

    replace(&bridge.rows(), &bridge.path("older.db"));
    Load::new(broker.port(), 1, 100).numbered_from(600).run();
    bridge.wait_rows("readings", 700);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..700).assert_each_once("readings");
}

#[test]
fn a_sqlite_file_that_was_deleted_is_made_again_from_what_the_journal_keeps() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 200).run();
    bridge.wait_rows("readings", 200);
    assert!(bridge.stop().success());
    std::fs::remove_file(bridge.rows()).unwrap();
    bridge.start();
    bridge.wait_rows("readings", 200);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..200).assert_each_once("readings");
}

/// The data directory as it was once, for putting it back as a restored disk image would.
fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_journal_put_back_from_an_older_disk_image_never_skips_new_messages() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 100).run();
    bridge.wait_rows("readings", 100);
    assert!(bridge.stop().success());
    copy_dir(&bridge.path("data"), &bridge.path("image"));
    bridge.start();
    Load::new(broker.port(), 1, 200).numbered_from(100).run();
    bridge.wait_rows("readings", 300);
    assert!(bridge.stop().success());

    // The database knows messages up to 300, the journal only up to 100: its next number is 101 again.
    std::fs::remove_dir_all(bridge.path("data")).unwrap();
    copy_dir(&bridge.path("image"), &bridge.path("data"));
    bridge.start();
    Load::new(broker.port(), 1, 50).numbered_from(300).run();
    bridge.wait_rows("readings", 350);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..350).assert_each_once("readings");
    assert!(bridge.log().contains("replaced by an older copy"), "{}", bridge.log());

    // And the new numbering holds across a restart.
    assert!(bridge.stop().success());
    bridge.start();
    Load::new(broker.port(), 1, 50).numbered_from(350).run();
    bridge.wait_rows("readings", 400);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..400).assert_each_once("readings");
}
