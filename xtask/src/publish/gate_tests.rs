use std::collections::BTreeMap;

use super::*;
use crate::model::{Key, Manifest};

const COMMIT: &str = Expected::COMMIT;
const KEY: &str = "0123456789abcdef0123";

fn digest(of: char) -> Digest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

fn expected() -> Expected {
    Expected { key: Some(Key::for_test(KEY)), ..Expected::for_test() }
}

fn image(of: char, platform: &str) -> Manifest {
    Manifest::for_test(of, platform, &[("org.opencontainers.image.revision", COMMIT), ("vnd.jobs.key", KEY)])
}

fn index(images: Vec<Manifest>) -> Index {
    Index { digest: digest('f'), images, attestations: BTreeMap::new(), annotations: BTreeMap::new() }
}

fn parts(amd64: Option<char>, arm64: Option<char>) -> BTreeMap<Arch, Option<Index>> {
    let part = |arch: Arch, of: Option<char>| {
        let index = of.map(|of| Index { digest: digest(of), ..index(vec![image(of, arch.platform())]) });
        (arch, index)
    };
    BTreeMap::from([part(Arch::Amd64, amd64), part(Arch::Arm64, arm64)])
}

fn whole() -> Index {
    index(vec![image('1', "linux/amd64"), image('2', "linux/arm64")])
}

fn state(index: Option<Index>, parts: BTreeMap<Arch, Option<Index>>) -> RegistryState {
    RegistryState { index, parts, keyed: None }
}

#[test]
fn a_complete_set_passes_in_the_order_of_the_architectures() {
    let passed = pass(&expected(), &state(None, parts(Some('1'), Some('2')))).unwrap();
    let images = BTreeSet::from([digest('1'), digest('2')]);
    assert_eq!(passed, Passed::Create { digests: vec![digest('1'), digest('2')], images });
}

#[test]
fn what_is_published_and_right_stays() {
    for parts in [parts(None, None), parts(Some('1'), Some('2'))] {
        assert_eq!(pass(&expected(), &state(Some(whole()), parts)), Ok(Passed::Unchanged(whole())));
    }
}

#[test]
fn a_half_set_is_refused_with_the_command_that_mends_it() {
    let problems = pass(&expected(), &state(None, parts(Some('1'), None))).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "reg.example/jobs/a:abc-arm64: arm64 is missing\n  \
         rule: a tag is published when every architecture is there\n  help: cargo xtask build --arch arm64 a"
    );
    // The images of an earlier run are no stand-in for the half that is missing.
    let keyed = RegistryState { keyed: Some(whole()), ..state(None, parts(Some('1'), None)) };
    assert!(pass(&expected(), &keyed).is_err());
}

#[test]
fn without_parts_the_images_of_the_key_are_used_if_they_are_right() {
    let keyed = |index| RegistryState { keyed: Some(index), ..state(None, parts(None, None)) };
    assert_eq!(pass(&expected(), &keyed(whole())), Ok(Passed::Reuse(whole())));
    assert!(pass(&expected(), &keyed(index(vec![image('1', "linux/amd64")]))).is_err());
}

#[test]
fn a_tag_with_other_content_is_refused_with_both_digests() {
    let problems = pass(&expected(), &state(Some(whole()), parts(Some('1'), Some('3')))).unwrap_err();
    assert_eq!(
        problems[0].what,
        format!(
            "exists with other content: linux/amd64 {}, linux/arm64 {}, and not linux/arm64 {}",
            digest('1'),
            digest('2'),
            digest('3')
        )
    );
    let problems = pass(&expected(), &state(Some(whole()), parts(Some('1'), None))).unwrap_err();
    assert_eq!(problems[0].what, "arm64 is missing, while another architecture's tag is there");
}

#[test]
fn the_tag_of_a_dirty_tree_may_be_made_anew() {
    let dirty = Expected { revision: Revision::of_label(&format!("{COMMIT}-dirty")), ..expected() };
    let other = index(vec![image('8', "linux/amd64"), image('9', "linux/arm64")]);
    let passed = pass(&dirty, &state(Some(other), parts(Some('1'), Some('2')))).unwrap();
    assert!(matches!(passed, Passed::Create { .. }));
}

#[test]
fn what_is_read_back_has_to_be_what_was_made() {
    let wanted = BTreeSet::from([digest('1'), digest('2')]);
    assert_eq!(check_read_back(&expected(), Some(whole()), &wanted), Ok(whole()));
    let what =
        |index, wanted: &BTreeSet<Digest>| check_read_back(&expected(), index, wanted).unwrap_err()[0].what.clone();
    assert_eq!(what(None, &wanted), "was made, and is not there: the registry lost it, or somebody deleted it");
    let other = BTreeSet::from([digest('1'), digest('3')]);
    assert_eq!(what(Some(whole()), &other), "was made, and now holds other images: somebody else writes the same tag");
}
