//! A real, small file system that can be filled: mounted where only the bridge and a process that holds it see it, so
//! nothing is left behind on the machine whatever happens to the test.
//!
//! ext4 in an image where loop devices are allowed, which takes root; else a tmpfs, which any user may mount in a
//! namespace of its own. Where neither is allowed the test fails: a skipped proof would look like a passed one.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::bridge::Bridge;
use crate::support::process::{Process, program};

pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
    /// Of an ext4: 1024, as on small partitions, to 4096. `None` is a tmpfs, whose blocks are pages.
    pub(super) block_bytes: Option<u64>,
}

/// Mounted, as long as this lives, on a folder of the bridge's own folder.
pub(super) struct SmallDisk {
    holder: Process,
    mount: PathBuf,
    kind: &'static str,
    as_root: bool,
}

/// Mounts, says so, and stays: `$1` is where, `$2` an ext4 image or nothing, `$3` the options of a tmpfs.
const HOLD: &str = r#"
if [ -n "$2" ] && mount -o loop "$2" "$1" 2>/dev/null; then echo ext4
elif mount -t tmpfs -o "$3" none "$1"; then echo tmpfs
else exit 1
fi
exec sleep 1000000
"#;

impl SmallDisk {
    /// A file system as the bridge's folder `name`; the bridge is from now on started so that it
    /// sees it.
    pub(super) fn mount(bridge: &mut Bridge, name: &str, size: Size) -> SmallDisk {
        let Size { bytes, inodes, block_bytes } = size;
        let mount = bridge.path("").canonicalize().unwrap().join(name);
        fs::create_dir_all(&mount).unwrap();
        let as_root = rustix::process::geteuid().is_root();
        let image =
            block_bytes.filter(|_| as_root).and_then(|block| ext4_image(&bridge.path("image"), bytes, inodes, block));
        let mut command = Command::new(program("unshare"));
        command.arg("--mount");
        if !as_root {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["sh", "-c", HOLD, "sh"]).arg(&mount).arg(image.unwrap_or_default());
        command.arg(format!("size={bytes},nr_inodes={inodes}"));
        command.current_dir(bridge.path("")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut kind = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut kind).unwrap();
        let kind = match kind.trim_end() {
            "ext4" => "ext4",
            "tmpfs" => "tmpfs",
            _ => panic!(
                "no file system can be mounted here, not even in a namespace of its own: run this as root, or allow user \
                 namespaces (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
            ),
        };
        let disk = SmallDisk { holder: Process::new(child), mount, kind, as_root };
        bridge.start_by(disk.enter());
        disk
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// A command that becomes another one within.
    fn enter(&self) -> Vec<String> {
        let mut command = vec![program("nsenter").display().to_string(), format!("--target={}", self.holder.id())];
        if !self.as_root {
            command.extend(["--user", "--preserve-credentials"].map(str::to_owned));
        }
        command.extend(["--mount", "--wd", "--"].map(str::to_owned));
        command
    }

    /// Runs `rowbridge ARGUMENTS` within.
    pub(super) fn command(&self, bridge: &Bridge, arguments: &[&str]) -> std::process::Output {
        let enter = self.enter();
        let (program, options) = enter.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(options).arg(env!("CARGO_BIN_EXE_rowbridge")).args(arguments).arg("-c").arg(bridge.config());
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Where this process finds it. Not for SQLite, which resolves the way through another process's root to its own.
    pub(super) fn path(&self) -> PathBuf {
        let inside = self.mount.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    /// ext4 keeps some blocks for itself: these are without them.
    fn free_bytes(&self) -> u64 {
        let state = rustix::fs::statvfs(self.path()).unwrap();
        state.f_bavail * state.f_frsize
    }

    /// Takes what is free but for `left` bytes; how much that was. Again later: what became free meanwhile.
    pub(super) fn fill(&self, left: u64) -> u64 {
        const PIECE: [u8; 4096] = [0xAA; 4096];
        let mut hog = File::options().create(true).append(true).open(self.path().join("hog")).unwrap();
        let mut taken = 0;
        while self.free_bytes() > left {
            match hog.write(&PIECE) {
                Ok(n) => taken += n as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("filling the disk: {error}"),
            }
        }
        taken
    }

    /// Takes all inodes; how many that were.
    pub(super) fn fill_inodes(&self) -> u64 {
        let folder = self.path().join("hogs");
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return 0,
            _ => {}
        }
        let begun = fs::read_dir(&folder).unwrap().count() as u64;
        for number in begun.. {
            match File::create(folder.join(number.to_string())) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return number - begun,
                Err(error) => panic!("taking the inodes: {error}"),
            }
        }
        unreachable!("no disk has so many inodes")
    }

    /// Gives back what was taken.
    pub(super) fn relieve(&self) {
        let _ = fs::remove_file(self.path().join("hog"));
        let _ = fs::remove_dir_all(self.path().join("hogs"));
    }
}

/// `None` if it cannot be made.
fn ext4_image(path: &Path, bytes: u64, inodes: u64, block_bytes: u64) -> Option<PathBuf> {
    File::create(path).unwrap().set_len(bytes).unwrap();
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-b", &block_bytes.to_string(), "-m", "0", "-N", &inodes.to_string()]).arg(path);
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success()).then(|| path.to_path_buf())
}
