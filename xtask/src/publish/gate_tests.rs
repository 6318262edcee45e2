use std::collections::BTreeMap;

use super::*;
use crate::model::{Digest, Key, Manifest};

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
    Index::for_test(images)
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
    RegistryState { index, parts, ..RegistryState::default() }
}

#[test]
fn a_complete_set_passes_in_the_order_of_the_architectures() {
    let passed = pass(&expected(), &state(None, parts(Some('1'), Some('2')))).unwrap();
    assert_eq!(passed.images(), [image('1', "linux/amd64"), image('2', "linux/arm64")]);
    assert_eq!(passed.sources(), whole().descriptors);
    assert!(matches!(passed, Passed::Create { .. }));
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
}

#[test]
fn the_images_of_the_key_win_over_ones_that_were_built_a_second_time() {
    for parts in [parts(Some('3'), Some('4')), parts(Some('3'), None)] {
        let keyed = RegistryState { keyed: Some(whole()), ..state(None, parts) };
        assert_eq!(pass(&expected(), &keyed), Ok(Passed::Reuse(whole())));
        // Once that is published, a second merge has nothing to complain about, and something to mend.
        let published = RegistryState { index: Some(whole()), ..keyed };
        assert_eq!(pass(&expected(), &published), Ok(Passed::Unchanged(whole())));
        assert_eq!(astray(&whole(), &published.parts), Arch::ALL);
    }
    // Not where images are built by force, nor where those of the key are wrong.
    let keyed = |index| RegistryState { keyed: Some(index), ..state(None, parts(Some('3'), Some('4'))) };
    let broken = keyed(index(vec![image('1', "linux/amd64")]));
    assert!(matches!(pass(&expected(), &broken), Ok(Passed::Create { .. })));
    let forced = Expected { forced: true, ..expected() };
    assert!(!matches!(pass(&forced, &keyed(whole())), Ok(Passed::Reuse(_))));
    // Half of a forced set is not completed by the images that it was to replace.
    let by_force = Manifest { labels: forced.labels(None), ..image('3', "linux/amd64") };
    let half = BTreeMap::from([(Arch::Amd64, Some(index(vec![by_force]))), (Arch::Arm64, None)]);
    let half = RegistryState { keyed: Some(whole()), ..state(None, half) };
    assert_eq!(pass(&expected(), &half).unwrap_err()[0].what, "arm64 is missing");
}

#[test]
fn without_parts_the_images_of_the_key_are_used_if_they_are_right() {
    let keyed = |index| RegistryState { keyed: Some(index), ..state(None, parts(None, None)) };
    assert_eq!(pass(&expected(), &keyed(whole())), Ok(Passed::Reuse(whole())));
    assert!(pass(&expected(), &keyed(index(vec![image('1', "linux/amd64")]))).is_err());
}

#[test]
fn beside_a_right_tag_nothing_is_refused_and_what_is_astray_is_mended() {
    for (parts, wrong) in [
        (parts(Some('1'), Some('2')), vec![]),
        (parts(None, None), vec![]),
        (parts(Some('1'), Some('3')), vec![Arch::Arm64]),
        (parts(Some('1'), None), vec![Arch::Arm64]),
        (parts(None, Some('3')), Arch::ALL.to_vec()),
    ] {
        let state = state(Some(whole()), parts);
        assert_eq!(pass(&expected(), &state), Ok(Passed::Unchanged(whole())));
        assert_eq!(astray(&whole(), &state.parts), wrong);
    }
    // Where one is missing, it is to be seen; one that another build of the same inputs left may have to stay.
    let problems = check_published(&expected(), &whole(), &state(Some(whole()), parts(Some('1'), None)));
    assert_eq!(
        problems[0].to_string(),
        "reg.example/jobs/a:abc-arm64: arm64 is missing, while another architecture's tag is there\n  \
         help: cargo xtask merge a"
    );
    assert_eq!(check_published(&expected(), &whole(), &state(Some(whole()), parts(Some('1'), Some('3')))), []);
}

#[test]
fn a_tag_with_other_content_is_refused_with_both_digests() {
    let half = index(vec![image('1', "linux/amd64")]);
    let problems = pass(&expected(), &state(Some(half), parts(Some('1'), Some('3')))).unwrap_err();
    let whats: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
    let other = format!("exists with other content: linux/amd64 {}, and not linux/arm64 {}", digest('1'), digest('3'));
    assert_eq!(whats, ["arm64 is missing", &other]);
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
    let wanted = Passed::Reuse(whole());
    assert_eq!(check_read_back(&expected(), Some(whole()), &wanted), Ok(whole()));
    let what = |index, wanted: &Passed| check_read_back(&expected(), index, wanted).unwrap_err()[0].what.clone();
    assert_eq!(what(None, &wanted), "was made, and is not there: the registry lost it, or somebody deleted it");
    let other = Passed::Reuse(index(vec![image('1', "linux/amd64"), image('3', "linux/arm64")]));
    let changed = "was made, and now holds other images: somebody else writes the same tag";
    assert_eq!(what(Some(whole()), &other), changed);
    // The same images under another digest are no copy.
    let copy = Passed::Copy { source: source(), index: whole() };
    assert_eq!(check_read_back(&expected(), Some(whole()), &copy), Ok(whole()));
    assert_eq!(what(Some(Index { digest: digest('e'), ..whole() }), &copy), changed);
}

fn source() -> Reference {
    expected().repository.with_digest(&whole().digest)
}

#[test]
fn a_copy_keeps_its_digest_and_takes_no_ones_place() {
    let copy = |expected: &Expected, existing: Option<&Index>| pass_copy(expected, existing, source(), &whole());
    let copied = Passed::Copy { source: source(), index: whole() };
    assert_eq!(copy(&expected(), None), Ok(copied.clone()));
    assert_eq!(copy(&expected(), Some(&whole())), Ok(Passed::Unchanged(whole())));
    let other = Index { digest: digest('e'), ..whole() };
    assert_eq!(
        copy(&expected(), Some(&other)).unwrap_err()[0].to_string(),
        format!(
            "{}: exists with other content: {}, and not {}\n  rule: a published tag never changes\n  \
             help: publish another tag, or delete this one in the registry",
            expected().reference(None),
            digest('e'),
            digest('f')
        )
    );
    let dirty = Expected { revision: Revision::of_label(&format!("{COMMIT}-dirty")), ..expected() };
    assert_eq!(copy(&dirty, Some(&other)), Ok(copied));
    // A target may want more of its images than the one that they come from.
    let attested = Expected { attested: true, ..expected() };
    assert!(copy(&attested, None).unwrap_err()[0].what.contains("carries no attestation"));
}

#[test]
fn a_moving_tag_goes_by_the_revision_of_its_index() {
    let commit = |of: char| of.to_string().repeat(40).parse::<Commit>().unwrap();
    let at = expected().repository.with_tag(&"latest".parse().unwrap());
    // The index is of commit b, its images are of commit a: a reverted change.
    let revision = ("org.opencontainers.image.revision".to_owned(), "b".repeat(40));
    let existing = Index { annotations: BTreeMap::from([revision]), ..whole() };
    let forward = |of: char, ancestors: &[(char, char)]| {
        let to = Revision { commit: commit(of), dirty: false };
        let pairs: Vec<_> = ancestors.iter().map(|(older, newer)| (commit(*older), commit(*newer))).collect();
        check_forward(&at, &existing, &to, |older, newer| Ok(Some(pairs.contains(&(older.clone(), newer.clone())))))
    };
    assert_eq!(forward('c', &[('b', 'c')]).unwrap(), Move::Forward);
    assert_eq!(forward('a', &[('a', 'b')]).unwrap(), Move::Overtaken(commit('b')));
    assert!(forward('d', &[]).unwrap_err().to_string().contains("would go backwards"));
    let to = Revision { commit: commit('c'), dirty: false };
    assert_eq!(check_forward(&at, &existing, &to, |_, _| Ok(None)).unwrap(), Move::Unknown(commit('b')));
}

#[test]
fn a_key_is_pointed_to_new_images_only_by_force() {
    let forced =
        |of| Manifest { labels: Expected { forced: true, ..expected() }.labels(None), ..image(of, "linux/amd64") };
    let one = Expected { arches: vec![Arch::Amd64], ..expected() };
    let is_for_key = |keyed: Option<&Index>, image: Manifest, is_new| is_for_key(&one, keyed, &[image], is_new);
    let (plain, by_force) = (index(vec![image('1', "linux/amd64")]), index(vec![forced('1')]));
    assert!(is_for_key(None, image('1', "linux/amd64"), true));
    assert!(!is_for_key(Some(&plain), image('1', "linux/amd64"), true));
    assert!(!is_for_key(Some(&plain), image('2', "linux/amd64"), true));
    assert!(is_for_key(Some(&plain), forced('2'), true) && is_for_key(Some(&plain), forced('2'), false));
    assert!(is_for_key(Some(&by_force), forced('2'), true) && !is_for_key(Some(&by_force), forced('2'), false));
    assert!(!super::is_for_key(&Expected { key: None, ..expected() }, None, &[], true));
    // One that lacks an architecture that has been added since is of no use to anybody.
    let both = whole().images;
    assert!(super::is_for_key(&expected(), Some(&plain), &both, true));
}
