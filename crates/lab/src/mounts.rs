//! What is mounted below a folder, so that `down` finds every mount, whoever of the lab made it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{UnmountFlags, unmount},
};

/// Mount points below `folder` (not itself), the last mounted first.
pub fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?, folder))
}

/// Unmounts lazily; what is no mount point (any more) is fine.
pub fn detach(mount_point: &Path) -> io::Result<()> {
    match unmount(mount_point, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// proc_pid_mountinfo(5): field 5, with space, tab, newline and backslash written in octal.
fn parse(mountinfo: &str, folder: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut found: Vec<_> = points.filter(|point| point.starts_with(folder) && point != folder).collect();
    found.reverse();
    found
}

fn unescape(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(escapes.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_and_the_last_first() {
        let info = "1 0 0:1 / /run rw - tmpfs tmpfs rw\n\
            2 1 0:2 / /run/malla/a/bpf rw - bpf malla-a rw\n\
            3 1 0:3 / /run/malla/a/pods/x\\040y/netns rw - nsfs nsfs rw\n\
            4 1 0:4 / /run/malla/ab/bpf rw - bpf malla-ab rw\n";
        let found = parse(info, Path::new("/run/malla/a"));
        assert_eq!(found, [PathBuf::from("/run/malla/a/pods/x y/netns"), PathBuf::from("/run/malla/a/bpf")]);
    }
}
