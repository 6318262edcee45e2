//! What a layer does to the files of the layers below it, read from its archive as that is unpacked: a [tar archive],
//! in which [whiteouts] stand for what is deleted.
//!
//! [tar archive]: https://www.gnu.org/software/tar/manual/html_node/Standard.html
//! [whiteouts]: https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#whiteouts

use super::Digest;
use super::programs::{Cpu, PROGRAM_HEADER, cpu_of_program};

/// The size of a header, and what every file is filled up to.
const BLOCK: usize = 512;
/// The longest name or list of attributes that is read, in bytes; Linux takes no path over 4 kB.
const LONGEST: usize = 1 << 20;
/// The most files of a layer that are kept in mind.
const MOST_FILES: usize = 5_000_000;
/// What the name of a file begins with that is deleted, and the file that says that all of its folder is.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// Names that a storage driver uses for itself.
const RESERVED: &str = ".wh..wh.";

/// A layer of an image, as it is pulled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// What a layer does to the files of those below it. Paths begin with `/`, which stands for none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LayerFiles {
    /// Deleted, with all that is in them.
    pub deleted: Vec<String>,
    /// Folders that keep nothing of what was in them.
    pub emptied: Vec<String>,
    /// In the order of the archive.
    pub written: Vec<(String, Written)>,
}

/// What stands at a path from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// A program or a library.
    Program(Cpu),
    /// Another name of the file at this path.
    Link(String),
    /// It keeps what is in it.
    Folder,
    Other,
}

/// Reads an archive piece by piece, and skips what is in its files.
#[derive(Default)]
pub struct LayerReader {
    files: LayerFiles,
    /// What is read now, and as much of it as has come.
    reads: Part,
    part: Vec<u8>,
    /// How many bytes come before the next part.
    skip: u64,
    /// What comes before a header because that has no room for it.
    name: Option<String>,
    target: Option<String>,
    size: Option<u64>,
    fault: Option<String>,
}

/// What is read of an archive. None of it is empty.
#[derive(Default)]
enum Part {
    #[default]
    Header,
    /// Attributes of the next file, a name, or what a link points to, each of this length.
    Attributes(usize),
    Name(usize),
    Target(usize),
    /// More about the holes of the file of this path and of this size.
    Holes(String, u64),
    /// How the file of this path and of this size begins.
    Start(String, u64),
    /// What follows an empty block is not looked at.
    End,
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Header | Part::Holes(..) | Part::End => BLOCK,
            Part::Attributes(length) | Part::Name(length) | Part::Target(length) => *length,
            Part::Start(_, size) => usize::try_from(*size).map_or(PROGRAM_HEADER, |size| size.min(PROGRAM_HEADER)),
        }
    }
}

impl LayerReader {
    /// Takes the next piece of the archive.
    pub fn take(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() && self.fault.is_none() && !matches!(self.reads, Part::End) {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).map_or(piece.len(), |skip| skip.min(piece.len()));
                (self.skip, piece) = (self.skip - skipped as u64, &piece[skipped..]);
                continue;
            }
            let (now, later) = piece.split_at(piece.len().min(self.reads.len() - self.part.len()));
            self.part.extend(now);
            piece = later;
            if self.part.len() == self.reads.len() {
                let (part, read) = (std::mem::take(&mut self.part), std::mem::take(&mut self.reads));
                self.fault = self.read(&part, read).err();
            }
        }
    }

    /// What the layer does, once all of its archive has come.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub fn finish(self) -> Result<LayerFiles, String> {
        let is_whole = matches!(self.reads, Part::End | Part::Header) && self.skip == 0 && self.part.is_empty();
        match self.fault {
            Some(fault) => Err(fault),
            // Not every program writes the empty block at the end.
            None if is_whole => Ok(self.files),
            None => Err("the archive ends too early".to_owned()),
        }
    }

    fn read(&mut self, part: &[u8], read: Part) -> Result<(), String> {
        match read {
            Part::Header if part.iter().all(|byte| *byte == 0) => self.reads = Part::End,
            Part::Header => return self.header(part),
            Part::Attributes(_) => self.attributes(part)?,
            Part::Name(_) => self.name = Some(text(part)),
            Part::Target(_) => self.target = Some(text(part)),
            Part::Holes(path, size) if part[504] != 0 => self.reads = Part::Holes(path, size),
            Part::Holes(path, size) => self.begin(path, size)?,
            Part::Start(path, size) => {
                self.skip = size - part.len() as u64 + padding(size);
                let written = cpu_of_program(part).map_or(Written::Other, Written::Program);
                return self.write(path, written);
            }
            Part::End => {}
        }
        // What was as long as it said is filled up; a block is whole.
        self.skip = padding(part.len() as u64);
        Ok(())
    }

    fn header(&mut self, part: &[u8]) -> Result<(), String> {
        // The sum is that of a header with blanks in place of the sum.
        let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) };
        if number(&part[148..156]) != Some(part.iter().enumerate().map(byte).sum()) {
            return Err("the archive has a header that is none".to_owned());
        }
        let size = number(&part[124..136]).ok_or("the archive has a file without a size")?;
        let kind = part[156];
        if matches!(kind, b'x' | b'L' | b'K') {
            let length = usize::try_from(size).ok().filter(|length| (1..=LONGEST).contains(length));
            let length = length.ok_or_else(|| format!("the archive has a name of {size} bytes"))?;
            self.reads = match kind {
                b'x' => Part::Attributes(length),
                b'L' => Part::Name(length),
                _ => Part::Target(length),
            };
            return Ok(());
        }
        if kind == b'g' {
            self.skip = size + padding(size);
            return Ok(());
        }
        let name = self.name.take().unwrap_or_else(|| name(part));
        let target = self.target.take().unwrap_or_else(|| text(&part[157..257]));
        let size = self.size.take().unwrap_or(size);
        let path = absolute(&name);
        match kind {
            b'1' => self.write(path, Written::Link(absolute(&target))),
            b'5' => self.write(path, Written::Folder),
            b'2'..=b'6' => self.write(path, Written::Other),
            b'S' if part[482] != 0 => {
                self.reads = Part::Holes(path, size);
                Ok(())
            }
            _ if name.ends_with('/') => self.write(path, Written::Folder),
            _ => self.begin(path, size),
        }
    }

    /// Goes on with what is in a file.
    fn begin(&mut self, path: String, size: u64) -> Result<(), String> {
        if size == 0 {
            return self.write(path, Written::Other);
        }
        self.reads = Part::Start(path, size);
        Ok(())
    }

    /// Notes what stands at a path, or that nothing does.
    fn write(&mut self, path: String, written: Written) -> Result<(), String> {
        let LayerFiles { deleted, emptied, written: files } = &mut self.files;
        if deleted.len() + emptied.len() + files.len() >= MOST_FILES {
            return Err(format!("the archive has more than {MOST_FILES} files"));
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or_default();
        match name.strip_prefix(WHITEOUT) {
            _ if name == OPAQUE => emptied.push(folder.to_owned()),
            Some(_) if name.starts_with(RESERVED) => {}
            Some(name) => deleted.push(format!("{folder}/{name}")),
            None => files.push((path, written)),
        }
        Ok(())
    }

    /// Lines of a length, a blank, a name, `=` and a value.
    fn attributes(&mut self, part: &[u8]) -> Result<(), String> {
        let mut rest = part;
        while !rest.is_empty() {
            let blank = rest.iter().position(|byte| *byte == b' ').unwrap_or_default();
            let length = std::str::from_utf8(&rest[..blank]).ok().and_then(|length| length.parse::<usize>().ok());
            let length = length.filter(|length| (blank + 1..=rest.len()).contains(length));
            let length = length.ok_or("the archive has attributes that are none")?;
            let line = String::from_utf8_lossy(&rest[blank + 1..length]);
            match line.strip_suffix('\n').unwrap_or(&line).split_once('=') {
                Some(("path", path)) => self.name = Some(path.to_owned()),
                Some(("linkpath", path)) => self.target = Some(path.to_owned()),
                Some(("size", size)) => self.size = Some(size.parse().map_err(|_| format!("a file of {size} bytes"))?),
                Some((name, _)) if name.starts_with("GNU.sparse.") => {
                    return Err("the archive has a file with holes, of a kind that is not read".to_owned());
                }
                _ => {}
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}

/// How many bytes fill up the last block.
fn padding(size: u64) -> u64 {
    let block = BLOCK as u64;
    (block - size % block) % block
}

/// The text before the first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The name in a header, of which POSIX keeps the beginning elsewhere.
fn name(header: &[u8]) -> String {
    let (name, beginning) = (text(&header[..100]), text(&header[345..500]));
    if &header[257..263] == b"ustar\0" && !beginning.is_empty() { format!("{beginning}/{name}") } else { name }
}

/// A number in octal digits, or, where these are too few, in binary.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        return field[1..].iter().try_fold(0u64, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)));
    }
    let digits = text(field);
    let digits = digits.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn absolute(path: &str) -> String {
    format!("/{}", clean(path))
}

/// The shortest way from a root to `path`. Nothing leads out of the root.
pub fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
