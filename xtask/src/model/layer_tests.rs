//! Unit tests of `layer.rs`, on archives that the program `tar` makes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, id};

use super::*;

/// How a program for ARM64 begins.
const PROGRAM: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0 and so on";

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("xtask-layer-{name}-{}", id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn tar(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("tar").arg("-C").arg(&self.0).args(["-c", "-f", "-"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(archive: &[u8], piece: usize) -> Result<LayerFiles, String> {
    let mut reader = LayerReader::default();
    archive.chunks(piece).for_each(|piece| reader.take(piece));
    reader.finish()
}

fn written(files: &LayerFiles) -> Vec<String> {
    let line = |(path, written): &(String, Written)| match written {
        Written::Program(cpu) => format!("{path} {cpu}"),
        Written::Link(target) => format!("{path} -> {target}"),
        Written::Folder => format!("{path}/"),
        Written::Other => path.clone(),
    };
    files.written.iter().map(line).collect()
}

#[test]
fn every_kind_of_file_is_read_in_every_format() {
    let folder = Folder::new("kinds");
    folder.write("a/program", PROGRAM);
    folder.write("a/text", &[b'x'; 1500]);
    folder.write("a/empty", b"");
    fs::hard_link(folder.0.join("a/program"), folder.0.join("a/same")).unwrap();
    std::os::unix::fs::symlink("program", folder.0.join("a/symlink")).unwrap();
    let expected = ["/a/", "/a/empty", "/a/program arm64", "/a/same -> /a/program", "/a/symlink", "/a/text"];
    for format in ["v7", "ustar", "gnu", "oldgnu", "pax"] {
        let archive = folder.tar(&["--format", format, "--sort=name", "./a"]);
        for piece in [1, 7, 511, 512, 513, 1 << 16] {
            assert_eq!(written(&read(&archive, piece).unwrap()), expected, "{format} {piece}");
        }
        // Without the empty blocks at the end, it is whole; cut anywhere in a file, it is not.
        let end = archive.iter().rposition(|byte| *byte != 0).unwrap() / 512 * 512 + 512;
        assert_eq!(written(&read(&archive[..end], 512).unwrap()), expected, "{format}");
        assert_eq!(read(&archive[..end - 512], 512).unwrap_err(), "the archive ends too early", "{format}");
        for length in (0..archive.len()).step_by(97) {
            assert!(read(&archive[..length], 512).map_or_else(|why| !why.is_empty(), |files| files.written.len() < 7));
        }
    }
}

#[test]
fn long_names_and_holes_are_read() {
    let folder = Folder::new("long");
    let deep = format!("{}/{}", ["d".repeat(90), "e".repeat(90)].join("/"), "f".repeat(120));
    folder.write(&deep, PROGRAM);
    fs::hard_link(folder.0.join(&deep), folder.0.join("link")).unwrap();
    let expected = [format!("/{deep} arm64"), format!("/link -> /{deep}")];
    for format in ["gnu", "pax"] {
        let archive = folder.tar(&["--format", format, &deep, "link"]);
        assert_eq!(written(&read(&archive, 100).unwrap()), expected, "{format}");
    }
    let short = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    folder.write(&short, PROGRAM);
    let archive = folder.tar(&["--format=ustar", &short]);
    assert_eq!(written(&read(&archive, 100).unwrap()), [format!("/{short} arm64")]);
    // More holes than a header has room for.
    folder.write("holes", PROGRAM);
    let holes = fs::File::options().write(true).open(folder.0.join("holes")).unwrap();
    (1..40).for_each(|i| holes.write_all_at(&[1; 4096], i << 17).unwrap());
    folder.write("zz", PROGRAM);
    let sparse = |format: &str| folder.tar(&["--sparse", "--format", format, "holes", "zz"]);
    let archive = sparse("gnu");
    assert!(archive[156] == b'S' && archive[482] != 0);
    assert_eq!(written(&read(&archive, 100).unwrap()), ["/holes arm64", "/zz arm64"]);
    let unread = "the archive has a file with holes, of a kind that is not read";
    assert_eq!(read(&sparse("pax"), 100).unwrap_err(), unread);
}

#[test]
fn whiteouts_are_deletions() {
    let folder = Folder::new("whiteouts");
    for path in ["a/.wh.b", "a/c/.wh..wh..opq", ".wh.d", "a/.wh..wh.plnk", "a/.whatever"] {
        folder.write(path, b"");
    }
    let files = read(&folder.tar(&["--sort=name", "."]), 100).unwrap();
    assert_eq!(files.deleted, ["/d", "/a/b"]);
    assert_eq!(files.emptied, ["/a/c"]);
    assert_eq!(written(&files), ["//", "/a/", "/a/.whatever", "/a/c/"]);
}

#[test]
fn what_is_no_archive_is_refused() {
    let folder = Folder::new("none");
    folder.write("a", PROGRAM);
    let whole = folder.tar(&["--format=pax", "--pax-option=comment=x", "a"]);
    assert_eq!(written(&read(&whole, 512).unwrap()), ["/a arm64"]);
    for (name, text) in [("no archive", vec![b'x'; 2000]), ("a header only", whole[..512].to_vec())] {
        assert!(read(&text, 512).is_err(), "{name}");
    }
    // Whatever is broken, it is said, and nothing is read past the end.
    for at in 0..whole.len().min(2048) {
        for value in [0, b'9', b'x', 0x80, 0xff] {
            let mut broken = whole.clone();
            broken[at] = value;
            assert!(read(&broken, 512).map_or_else(|why| !why.is_empty(), |files| files.written.len() < 3), "{at}");
        }
    }
    let mut long = folder.tar(&["--format=pax", "--pax-option=comment:=x", "a"]);
    assert_eq!(long[156], b'x');
    long[124..136].copy_from_slice(b"77777777777\0");
    long[148..156].copy_from_slice(b"        ");
    let sum: u64 = long[..512].iter().map(|byte| u64::from(*byte)).sum();
    long[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read(&long, 512).unwrap_err(), "the archive has a name of 8589934591 bytes");
}
