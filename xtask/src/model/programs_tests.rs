use super::*;

/// How a file begins with this class, order of bytes, kind and machine.
fn start(order: u8, kind: u16, machine: u16) -> Vec<u8> {
    let bytes = |number: u16| if order == 2 { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut start = b"\x7fELF\x02".to_vec();
    start.extend([order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    start.extend(bytes(kind));
    start.extend(bytes(machine));
    start
}

#[test]
fn a_header_tells_the_processor() {
    for (order, kind, machine, expected) in [
        (1, 2, 62, Some("amd64")),
        (1, 3, 62, Some("amd64")),
        (1, 3, 183, Some("arm64")),
        (1, 2, 3, Some("386")),
        (1, 2, 40, Some("arm")),
        (2, 2, 22, Some("s390x")),
        (2, 3, 21, Some("ppc64")),
        (1, 2, 21, Some("ppc64")),
        (1, 1, 62, None),
        (1, 4, 62, None),
        (2, 2, 62 << 8, None),
        (1, 2, 224, None),
        (1, 2, 0, None),
    ] {
        assert_eq!(cpu_of_program(&start(order, kind, machine)), expected, "{order} {kind} {machine}");
    }
    assert_eq!(cpu_of_program(&start(1, 2, 62)[..19]), None);
    assert_eq!(cpu_of_program(b"#!/bin/sh\necho and so on\n"), None);
}

fn layer(deleted: &[&str], emptied: &[&str], written: &[(&str, Written)]) -> LayerFiles {
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let written = written.iter().map(|(path, written)| ((*path).to_owned(), written.clone())).collect();
    LayerFiles { deleted: owned(deleted), emptied: owned(emptied), written }
}

/// The programs of layers over one that has these for AMD64.
fn laid(programs: &[&str], layers: &[LayerFiles]) -> String {
    let lowest: Vec<(&str, Written)> = programs.iter().map(|path| (*path, Written::Program("amd64"))).collect();
    let mut programs = Programs::default();
    programs.lay(&layer(&[], &[], &lowest));
    layers.iter().for_each(|layer| programs.lay(layer));
    programs.0.iter().map(|(path, cpu)| format!("{path} {cpu}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn layers_lie_over_each_other() {
    let below = ["/a", "/a0", "/b/c", "/b/d", "/b-e"];
    let over = |layer: LayerFiles| laid(&below, &[layer]);
    let arm64 = Written::Program("arm64");
    assert_eq!(over(layer(&["/a"], &[], &[])), "/a0 amd64, /b-e amd64, /b/c amd64, /b/d amd64");
    assert_eq!(over(layer(&["/b"], &[], &[])), "/a amd64, /a0 amd64, /b-e amd64");
    assert_eq!(over(layer(&["/none"], &[], &[])), laid(&below, &[]));
    // A folder is emptied of what was in it before, and not of what comes with its own layer.
    assert_eq!(over(layer(&["/a", "/a0", "/b-e"], &["/b"], &[("/b/d", arm64.clone())])), "/b/d arm64");
    assert_eq!(over(layer(&[], &[""], &[("/b/d", arm64.clone())])), "/b/d arm64");
    assert_eq!(over(layer(&["/a"], &[""], &[("/a", arm64.clone())])), "/a arm64");
    // What comes last stands there.
    assert_eq!(over(layer(&[], &[], &[("/a", Written::Other)])), "/a0 amd64, /b-e amd64, /b/c amd64, /b/d amd64");
    assert_eq!(over(layer(&[], &[], &[("/b", Written::Other)])), "/a amd64, /a0 amd64, /b-e amd64");
    assert_eq!(over(layer(&[], &[], &[("/b", Written::Folder)])), laid(&below, &[]));
    assert_eq!(laid(&["/a"], &[layer(&[], &[], &[("/a", Written::Folder)])]), "");
    // Another name of a file of this layer, of one below, and of what is no program.
    let link = |path: &str| Written::Link(path.to_owned());
    assert_eq!(laid(&["/a"], &[layer(&[], &[], &[("/b", arm64), ("/c", link("/b"))])]), "/a amd64, /b arm64, /c arm64");
    assert_eq!(laid(&["/a"], &[layer(&[], &[], &[("/c", link("/a"))])]), "/a amd64, /c amd64");
    assert_eq!(laid(&["/a"], &[layer(&[], &[], &[("/a", link("/none"))])]), "");
}

/// The complaint about an image of an architecture that holds these.
fn complaint(platform: &str, programs: &[(&str, Cpu)], allowed: &[&str]) -> Option<String> {
    let foreign_files = allowed.iter().map(|pattern| (*pattern).to_owned()).collect();
    let programs = Programs(programs.iter().map(|(path, cpu)| ((*path).to_owned(), *cpu)).collect());
    let image = Manifest::for_test('a', platform, &[]);
    let problem = Expected { foreign_files, ..Expected::for_test() }.foreign_programs(&image, &programs)?;
    Some(problem.to_string().replace(&image.digest.to_string(), "sha256:…"))
}

#[test]
fn programs_of_another_architecture_are_named() {
    let programs = [("/bin/a", "amd64"), ("/bin/b", "arm64"), ("/lib/c", "386"), ("/lib/d", "arm")];
    let problem = "reg.example/jobs/a:abc: the image of linux/amd64 (sha256:…) holds /bin/b (arm64), /lib/d (arm)
  rule: the programs of an image are for its own architecture
  help: take those for amd64, or allow them in jobs/a/job.json: \"foreign-files\": [\"/bin/b\"]";
    assert_eq!(complaint("linux/amd64", &programs, &[]).as_deref(), Some(problem));
    let of_arm64 = complaint("linux/arm64", &programs, &[]).unwrap();
    assert!(of_arm64.contains(" holds /bin/a (amd64), /lib/c (386), /lib/d (arm)\n"), "{of_arm64}");
    assert_eq!(complaint("linux/amd64", &programs, &["/bin/?", "/lib/**/d"]), None);
    for too_few in ["/bin", "/*", "/bin/b", "/*/a"] {
        assert!(complaint("linux/amd64", &programs, &[too_few]).is_some(), "{too_few}");
    }
    let many: Vec<String> = (10..23).map(|i| format!("/{i}")).collect();
    let many: Vec<(&str, Cpu)> = many.iter().map(|path| (path.as_str(), "arm")).collect();
    let of_many = complaint("linux/amd64", &many, &[]).unwrap();
    assert!(of_many.contains(", /19 (arm) and 3 more\n") && !of_many.contains("/20"), "{of_many}");
}
