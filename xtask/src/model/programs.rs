//! The programs that an image holds, and the processors that they run on, which their [headers] tell.
//!
//! [headers]: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html

use std::collections::BTreeMap;

use super::layer::{LayerFiles, Written};
use super::{Arch, Expected, Manifest, PathPattern, Problem};

/// As much of a program's beginning as tells its processor, in bytes.
pub const PROGRAM_HEADER: usize = 20;
/// How many files a complaint names.
const NAMED: usize = 10;

/// A processor, as images name it.
pub type Cpu = &'static str;

/// The processors that images are made for, by their numbers in headers. A file for any other, such as a graphics card
/// or the firmware of a device, is data to the machine that runs the image.
const CPUS: [(u16, Cpu); 10] = [
    (3, "386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];

/// The processor of a file that begins so, if it is a program or a library. Objects, kernel modules among them, and
/// core dumps are none.
pub fn cpu_of_program(start: &[u8]) -> Option<Cpu> {
    if start.len() < PROGRAM_HEADER || !start.starts_with(b"\x7fELF") {
        return None;
    }
    let is_big_endian = start[5] == 2;
    let number = |at: usize| {
        let bytes = [start[at], start[at + 1]];
        if is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    };
    let (kind, machine) = (number(16), number(18));
    let known = CPUS.iter().find(|(number, _)| *number == machine).filter(|_| matches!(kind, 2 | 3));
    known.map(|(_, cpu)| *cpu)
}

/// The programs and libraries of an image, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs(BTreeMap<String, Cpu>);

impl Programs {
    /// Lays a layer over those that have come.
    pub fn lay(&mut self, layer: &LayerFiles) {
        // Deletions are of what the layers below hold, wherever they stand in the archive.
        layer.deleted.iter().for_each(|path| self.remove(path));
        layer.emptied.iter().for_each(|folder| self.remove_below(folder));
        for (path, written) in &layer.written {
            let cpu = match written {
                Written::Program(cpu) => Some(*cpu),
                Written::Link(target) => self.0.get(target).copied(),
                Written::Other => None,
                Written::Folder => {
                    self.0.remove(path);
                    continue;
                }
            };
            self.remove(path);
            self.0.extend(cpu.map(|cpu| (path.clone(), cpu)));
        }
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn remove(&mut self, path: &str) {
        self.0.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, folder: &str) {
        // `0` comes after `/`.
        let below = self.0.range(format!("{folder}/")..format!("{folder}0"));
        let below: Vec<String> = below.map(|(path, _)| path.clone()).collect();
        for path in below {
            self.0.remove(&path);
        }
    }
}

impl Expected {
    /// The complaint about an image's programs for another architecture than its own, but for those that the job
    /// allows.
    pub fn foreign_programs(&self, image: &Manifest, programs: &Programs) -> Option<Problem> {
        let arch = Arch::ALL.into_iter().find(|arch| arch.platform() == image.platform)?;
        let allowed: Vec<PathPattern> =
            self.foreign_files.iter().filter_map(|pattern| PathPattern::new(pattern).ok()).collect();
        let is_allowed = |path: &str| {
            let names: Vec<&str> = path.split('/').collect();
            allowed.iter().any(|pattern| pattern.matches(&names))
        };
        let foreign = programs.0.iter().filter(|(path, cpu)| !runs_on(cpu, arch) && !is_allowed(path));
        let foreign: Vec<String> = foreign.map(|(path, cpu)| format!("{path} ({cpu})")).collect();
        let (first, _) = foreign.first()?.rsplit_once(" (")?;
        let more = match foreign.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = foreign[..foreign.len().min(NAMED)].join(", ");
        let what = format!("the image of {} ({}) holds {named}{more}", image.platform, image.digest);
        let file = &self.settings_file;
        Some(
            Problem::new(self.reference(None).to_string(), what)
                .rule("the programs of an image are for its own architecture")
                .help(format!("take those for {arch}, or allow them in {file}: \"foreign-files\": [\"{first}\"]")),
        )
    }
}

/// Every AMD64 processor runs programs for its predecessor.
fn runs_on(cpu: Cpu, arch: Arch) -> bool {
    cpu == arch.as_str() || cpu == "386" && arch == Arch::Amd64
}

#[cfg(test)]
#[path = "programs_tests.rs"]
mod tests;
