use super::*;
use crate::model::{Key, Manifest};

const COMMIT: &str = Expected::COMMIT;
const KEY: &str = "0123456789abcdef0123";

fn expected() -> Expected {
    Expected { key: Some(Key::for_test(KEY)), ..Expected::for_test() }
}

fn images(arches: &[Arch], key: &str, revision: &str) -> Index {
    let manifest = |&arch: &Arch| {
        let labels = [("vnd.jobs.key", key), ("org.opencontainers.image.revision", revision)];
        Manifest::for_test(if arch == Arch::Amd64 { '1' } else { '2' }, arch.platform(), &labels)
    };
    Index::for_test(arches.iter().map(manifest).collect())
}

fn parts(amd64: Option<&str>, arm64: Option<&str>) -> BTreeMap<Arch, Option<Index>> {
    let part = |arch, key: Option<&str>| (arch, key.map(|key| images(&[arch], key, COMMIT)));
    BTreeMap::from([part(Arch::Amd64, amd64), part(Arch::Arm64, arm64)])
}

fn decided(state: &RegistryState) -> (Action, Vec<Arch>, String) {
    let decision = decide(&expected(), state, None).unwrap();
    (decision.action, decision.arches, decision.reason.to_string())
}

#[test]
fn a_published_tag_is_done() {
    let index = Some(images(&Arch::ALL, KEY, "old"));
    let done = (Action::Done, vec![], "published".to_owned());
    assert_eq!(decided(&RegistryState { index, ..RegistryState::default() }), done);
    // Of this commit, before a base moved.
    assert_eq!(
        decided(&RegistryState { index: Some(images(&Arch::ALL, "f", COMMIT)), ..RegistryState::default() }),
        done
    );
}

#[test]
fn what_an_index_says_of_itself_is_enough_to_plan_with() {
    let unread = |annotations: &[(&str, &str)], arches: &[Arch]| {
        let of = |arch: &Arch| Manifest::for_test(if *arch == Arch::Amd64 { '1' } else { '2' }, arch.platform(), &[]);
        let images = arches.iter().map(of).map(|image| Manifest::unread(image.digest, image.declared)).collect();
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Index { annotations, ..Index::for_test(images) }
    };
    const REVISION: &str = "org.opencontainers.image.revision";
    let old = format!("3f2a9c1{}", "0".repeat(33));
    let of_key = [(REVISION, old.as_str()), ("vnd.jobs.key", KEY)];
    let state = |index, keyed| RegistryState { index, keyed, ..RegistryState::default() };
    // A tag of this commit is right even if a base has moved since; a key has to be this one.
    let of_commit = [(REVISION, COMMIT), ("vnd.jobs.key", "ffffffffffffffffffff")];
    assert_eq!(decided(&state(Some(unread(&of_commit, &Arch::ALL)), None)).0, Action::Done);
    assert_eq!(decided(&state(None, Some(unread(&of_commit, &Arch::ALL)))).0, Action::Build);
    let reused = decided(&state(None, Some(unread(&of_key, &Arch::ALL))));
    assert_eq!(reused, (Action::Reuse, vec![], "unchanged since 3f2a9c1".to_owned()));
    // One that lists too little, or says nothing, says nothing of its images.
    assert_eq!(decided(&state(None, Some(unread(&of_key, &[Arch::Amd64])))).0, Action::Build);
    assert_eq!(decided(&state(None, Some(unread(&[], &Arch::ALL)))).0, Action::Build);
}

#[test]
fn images_of_the_same_key_are_used_again() {
    let keyed = Some(images(&Arch::ALL, KEY, &format!("3f2a9c1{}", "0".repeat(33))));
    assert_eq!(
        decided(&RegistryState { keyed, parts: parts(None, None), ..RegistryState::default() }),
        (Action::Reuse, vec![], "unchanged since 3f2a9c1".to_owned())
    );
    assert_eq!(
        decided(&RegistryState { parts: parts(Some(KEY), Some(KEY)), ..RegistryState::default() }),
        (Action::Reuse, vec![], "every architecture is built".to_owned())
    );
}

#[test]
fn an_incomplete_or_lying_key_tag_is_not_trusted() {
    for keyed in [images(&[Arch::Amd64], KEY, "x"), images(&Arch::ALL, "ffffffffffffffffffff", "x")] {
        let state = RegistryState { keyed: Some(keyed), parts: parts(None, None), ..RegistryState::default() };
        assert_eq!(decided(&state).0, Action::Build);
    }
}

#[test]
fn only_what_is_missing_is_built() {
    let other = Some("ffffffffffffffffffff");
    let (build, both) = (Action::Build, Arch::ALL.to_vec());
    for (found, result) in [
        (parts(None, None), (build, both.clone(), "nothing with these inputs is built")),
        (parts(Some(KEY), None), (build, vec![Arch::Arm64], "arm64 missing")),
        (parts(other, Some(KEY)), (build, vec![Arch::Amd64], "amd64 missing")),
        (parts(other, other), (build, both, "nothing with these inputs is built")),
    ] {
        let (action, arches, reason) = decided(&RegistryState { parts: found, ..RegistryState::default() });
        assert_eq!((action, arches, reason.as_str()), result);
    }
}

#[test]
fn what_is_not_committed_is_built_whatever_there_is() {
    let state = RegistryState {
        index: Some(images(&Arch::ALL, KEY, COMMIT)),
        keyed: Some(images(&Arch::ALL, KEY, COMMIT)),
        parts: parts(Some(KEY), Some(KEY)),
        ..RegistryState::default()
    };
    let dirty = decide(&expected(), &state, Some("jobs/a/x")).unwrap();
    assert_eq!((dirty.action, dirty.reason.to_string()), (Action::Build, "jobs/a/x is not committed".to_owned()));
}

/// The same images as built by force.
fn forced(mut index: Index) -> Index {
    index
        .images
        .iter_mut()
        .for_each(|image| drop(image.labels.insert("vnd.jobs.forced".to_owned(), "true".to_owned())));
    index
}

#[test]
fn force_builds_under_a_tag_of_its_own_until_the_forced_images_are_there() {
    let expected = Expected { forced: true, ..expected() };
    let decided = |state: &RegistryState| {
        let decision = decide(&expected, state, None).unwrap();
        (decision.action, decision.arches, decision.reason.to_string())
    };
    // Images that exist do not count, whether under the key or under this tag's architectures.
    let keyed = Some(images(&Arch::ALL, KEY, COMMIT));
    let build = |arches: &[Arch]| (Action::Build, arches.to_vec(), "forced".to_owned());
    assert_eq!(decided(&RegistryState { keyed, parts: parts(None, None), ..Default::default() }), build(&Arch::ALL));
    assert_eq!(decided(&RegistryState { parts: parts(Some(KEY), Some(KEY)), ..Default::default() }), build(&Arch::ALL));
    // A run that is repeated goes on where it stopped.
    let part = |arch| (arch, Some(forced(images(&[arch], KEY, COMMIT))));
    let half = BTreeMap::from([part(Arch::Amd64), (Arch::Arm64, None)]);
    assert_eq!(decided(&RegistryState { parts: half, ..Default::default() }), build(&[Arch::Arm64]));
    let both = BTreeMap::from([part(Arch::Amd64), part(Arch::Arm64)]);
    assert_eq!(decided(&RegistryState { parts: both, ..Default::default() }).0, Action::Reuse);
    let index = Some(forced(images(&Arch::ALL, KEY, COMMIT)));
    assert_eq!(decided(&RegistryState { index, parts: parts(None, None), ..Default::default() }).0, Action::Done);
}

#[test]
fn a_published_tag_is_not_rebuilt_by_force() {
    let expected = Expected { forced: true, ..expected() };
    let index = Some(images(&Arch::ALL, KEY, COMMIT));
    let problem = decide(&expected, &RegistryState { index, ..Default::default() }, None).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "reg.example/jobs/a:abc: is published, so it cannot be rebuilt by force under this tag\n  \
         rule: a published tag never changes, and a forced image has a tag of its own\n  \
         help: name another tag, for build and merge alike: --tag abc-2, or JOBS_TAG"
    );
}
