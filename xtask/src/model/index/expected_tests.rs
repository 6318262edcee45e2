use super::*;

const COMMIT: &str = Expected::COMMIT;
const KEY: &str = "0123456789abcdef0123";

fn digest(of: char) -> Digest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

fn expected() -> Expected {
    Expected::for_test()
}

fn with_key() -> Expected {
    Expected { key: Some(Key::for_test(KEY)), ..expected() }
}

fn image(of: char, platform: &str) -> Manifest {
    Manifest::for_test(of, platform, &[(REVISION, COMMIT)])
}

fn attestation(of: char, subject: char) -> (Digest, Option<Digest>) {
    (digest(of), Some(digest(subject)))
}

fn index(images: Vec<Manifest>) -> Index {
    Index::for_test(images)
}

/// The complaints about an index, without rule and help.
fn complaints(expected: &Expected, index: &Index) -> Vec<String> {
    expected.problems(None, index).into_iter().map(|problem| problem.what).collect()
}

fn both() -> Vec<Manifest> {
    vec![image('1', "linux/amd64"), image('2', "linux/arm64")]
}

#[test]
fn a_complete_index_with_its_attestations_is_right() {
    let whole = Index { attestations: BTreeMap::from([attestation('3', '1')]), ..index(both()) };
    assert_eq!(complaints(&expected(), &whole), Vec::<String>::new());
    // A variant that says nothing new is the same platform.
    let v8 = Manifest { declared: Some("linux/arm64/v8".to_owned()), ..image('2', "linux/arm64") };
    assert_eq!(complaints(&expected(), &index(vec![image('1', "linux/amd64"), v8])), Vec::<String>::new());
}

#[test]
fn an_incomplete_or_doubled_set_is_refused() {
    let what = |images| complaints(&expected(), &index(images));
    assert_eq!(what(vec![image('1', "linux/amd64")]), ["arm64 is missing"]);
    assert_eq!(what([both(), vec![image('3', "linux/arm64")]].concat()), ["linux/arm64 is there 2 times"]);
    let foreign = what([both(), vec![image('3', "linux/s390x")]].concat());
    assert_eq!(foreign, [format!("holds an image of linux/s390x ({})", digest('3'))]);
    assert_eq!(
        expected().problems(Some(Arch::Arm64), &index(vec![image('1', "linux/amd64")]))[0].to_string(),
        format!(
            "reg.example/jobs/a:abc-arm64: holds an image of linux/amd64 ({})\n  \
             rule: here stands linux/arm64 alone\n  help: cargo xtask build --arch arm64 --no-cache a",
            digest('1')
        )
    );
}

#[test]
fn what_the_index_says_has_to_be_what_the_image_is() {
    let lying = Manifest { declared: Some("linux/arm64".to_owned()), ..image('2', "linux/amd64") };
    let what: Vec<String> =
        expected().problems(Some(Arch::Arm64), &index(vec![lying])).into_iter().map(|p| p.what).collect();
    assert_eq!(what[0], format!("holds an image of linux/amd64 ({})", digest('2')));
    assert_eq!(what[1], format!("{} is listed as linux/arm64, but is an image of linux/amd64", digest('2')));
    let silent = Manifest { declared: None, ..image('2', "linux/arm64") };
    assert_eq!(
        complaints(&expected(), &index(vec![image('1', "linux/amd64"), silent])),
        [format!("{} is listed without a platform", digest('2'))]
    );
}

#[test]
fn another_revision_or_none_is_refused() {
    let what = |labels| {
        complaints(&expected(), &index(vec![image('1', "linux/amd64"), Manifest::for_test('2', "linux/arm64", labels)]))
    };
    assert_eq!(what(&[(REVISION, "old")]), [format!("was built from old, not from {COMMIT}")]);
    assert_eq!(what(&[]), ["carries no revision label, so nobody knows what it was built from"]);
}

#[test]
fn an_attestation_of_something_else_is_refused() {
    let strange = Index { attestations: BTreeMap::from([attestation('4', '9')]), ..index(both()) };
    let what = complaints(&expected(), &strange);
    assert_eq!(what, [format!("{} attests to an image that is not in the index", digest('4'))]);
}

#[test]
fn a_target_that_wants_attestations_refuses_images_without() {
    let expected = Expected { attested: true, ..expected() };
    let half = Index { attestations: BTreeMap::from([attestation('3', '1')]), ..index(both()) };
    let what = complaints(&expected, &half);
    assert_eq!(what, [format!("the image of linux/arm64 ({}) carries no attestation", digest('2'))]);
    let whole = Index { attestations: BTreeMap::from([attestation('3', '1'), attestation('4', '2')]), ..half };
    assert_eq!(complaints(&expected, &whole), Vec::<String>::new());
}

#[test]
fn the_revision_of_an_index_is_the_one_that_all_images_carry() {
    let mut whole = index(both());
    assert_eq!(whole.revision(), Revision::of_label(COMMIT));
    whole.images.push(Manifest::for_test('3', "linux/x", &[]));
    assert_eq!(whole.revision(), None);
    assert_eq!(index(Vec::new()).revision(), None);
    assert_eq!(index(vec![Manifest::for_test('1', "linux/amd64", &[(REVISION, "--output=x")])]).revision(), None);
}

#[test]
fn with_a_key_it_is_the_key_that_counts() {
    let bases = |of: char| BTreeMap::from([("busybox:1.37".to_owned(), digest(of))]);
    let expected = Expected { bases: bases('1'), ..with_key() };
    let other = "f".repeat(20);
    let what = |labels: &[(&str, &str)]| {
        let right = Manifest::for_test('1', "linux/amd64", &[(KEY_LABEL, KEY)]);
        complaints(&expected, &index(vec![right, Manifest::for_test('2', "linux/arm64", labels)]))
    };
    assert_eq!(what(&[(KEY_LABEL, KEY)]), Vec::<String>::new());
    assert_eq!(what(&[(REVISION, COMMIT)]), ["carries no key, so nobody knows what it was built from"]);
    assert_eq!(what(&[(KEY_LABEL, &other)]), [format!("was built from other inputs: its key is {other}, not {KEY}")]);
    assert_eq!(
        what(&[(KEY_LABEL, &other), (BASES_LABEL, &bases_label(&bases('2')))]),
        [format!(
            "was built from another base: busybox:1.37 moved ({} → {})",
            digest('2').short(),
            digest('1').short()
        )]
    );
    // What this commit published before a base moved stays right.
    let old = |of, platform| Manifest::for_test(of, platform, &[(REVISION, COMMIT), (KEY_LABEL, &other)]);
    let published = index(vec![old('1', "linux/amd64"), old('2', "linux/arm64")]);
    assert!(expected.problems_of_published(None, &published).is_empty());
    assert!(!expected.problems(None, &published).is_empty());
}

#[test]
fn where_force_is_asked_for_only_forced_images_will_do() {
    let expected = Expected { forced: true, ..with_key() };
    let plain = index(vec![Manifest::for_test('1', "linux/amd64", &[(KEY_LABEL, KEY)])]);
    let forced = index(vec![Manifest::for_test('1', "linux/amd64", &[(KEY_LABEL, KEY), (FORCED, "true")])]);
    assert_eq!(expected.problems(Some(Arch::Amd64), &plain)[0].what, "was not built by force");
    assert!(expected.problems(Some(Arch::Amd64), &forced).is_empty());
    assert!(with_key().problems(Some(Arch::Amd64), &forced).is_empty());
    assert!(forced.is_forced() && !plain.is_forced());
}

#[test]
fn the_bases_round_trip_through_their_label() {
    let bases = BTreeMap::from([("busybox:1.37".to_owned(), digest('1')), ("a@sha256:x".to_owned(), digest('2'))]);
    assert_eq!(bases_of_label(&bases_label(&bases)), bases);
    assert_eq!(bases_of_label(""), BTreeMap::new());
}
