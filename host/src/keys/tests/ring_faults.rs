//! What every fault of the user's GnuPG ring says, and that its remedy helps.

use super::ring::{SOURCE, fresh_store, gpgv_says, kill_agent, revoke, ring_signer};
use super::*;
use crate::keys::gnupg::Ring;
use crate::keys::{GnupgError, KeyError, SignError, UnusableKey};

/// Why the ring's key `query` does not sign packages.
fn refusal(bench: &Bench, query: &str) -> KeyError {
    ring_signer(&fresh_store(bench, "host"), query, Role::Packages)
        .err()
        .unwrap()
}

/// Why the key signs nothing, though it seemed to be there.
fn refusal_to_sign(bench: &Bench, query: &str, passphrases: &PassphraseSource) -> GnupgError {
    let signer = fresh_store(bench, "host")
        .signer(query, Role::Packages, passphrases)
        .unwrap();
    match signer.clear_sign(b"text\n") {
        Err(SignError::Gnupg(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Whoever asks for a passphrase gets no answer, on whatever terminal the tests run.
fn without_pinentry(bench: &Bench) {
    bench.write("gnupg/gpg-agent.conf", "s2k-count 65536\npinentry-program /bin/false\n");
    kill_agent(bench);
}

fn passphrase_file(bench: &Bench, passphrase: &str) -> PassphraseSource {
    let path = bench.write("passphrase", format!("{passphrase}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    PassphraseSource::none().with_common_file(path)
}

#[test]
fn a_name_that_no_key_has_says_where_it_was_looked_for() {
    let bench = Bench::new();
    for name in ["nobody@example.org", "0123456789abcdef", "--help", "", "*", "="] {
        let refused = refusal(&bench, name);
        assert!(matches!(refused, KeyError::NotFound { .. }), "{name}: {refused}");
        let said = refused.to_string();
        for part in [bench.path("host"), bench.gnupg_home()] {
            assert!(said.contains(part.to_str().unwrap()), "{said}");
        }
        assert!(
            said.contains("gpg --import FILE") && said.contains("foundry-host key import"),
            "{said}"
        );
    }
}

#[test]
fn a_ring_that_is_not_there_is_named() {
    let bench = Bench::new();
    let store = KeyStore::open(bench.path("host"))
        .unwrap()
        .with_gnupg_home(bench.path("nowhere"));
    let refused = ring_signer(&store, "a@example.org", Role::Packages).err().unwrap();
    let said = refused.to_string();
    assert!(matches!(refused, KeyError::NotFound { .. }));
    assert!(
        said.contains(bench.path("nowhere").to_str().unwrap()) && said.contains("GNUPGHOME"),
        "{said}"
    );
    assert!(!bench.path("nowhere").exists(), "nothing is made");
}

#[test]
fn a_machine_without_gpg_says_what_to_install() {
    let bench = Bench::new();
    bench.gpg_key("A <a@example.org>", "ed25519", "");
    let ring = Ring::new(Some(bench.gnupg_home())).with_gpg("/nowhere/gpg".into());
    let store = KeyStore::open(bench.path("host")).unwrap().with_ring(ring);
    let refused = ring_signer(&store, "a@example.org", Role::Packages).err().unwrap();
    assert!(matches!(refused, KeyError::NotFound { .. }));
    assert!(refused.to_string().contains("apt install gnupg"), "{refused}");
}

#[test]
fn a_gpg_that_cannot_be_asked_is_no_sign_that_a_key_is_missing() {
    let bench = Bench::new();
    let key = bench.gpg_key("A <a@example.org>", "ed25519", "");
    let fingerprint = [key.parse().unwrap()];
    let store = fresh_store(&bench, "host");
    let believed = store.trusted_with_gnupg(Role::Packages, &fingerprint).unwrap();
    assert_eq!((believed.keys.fingerprints().count(), believed.unknown.len()), (1, 0));
    assert!(!store.find_any("nobody@example.org").unwrap_err().may_pass());
    // Not there, failing, and not to be run.
    let failing = bench.write("failing", "#!/bin/sh\necho 'gpg: out of core' >&2\nexit 2\n");
    fs::set_permissions(&failing, fs::Permissions::from_mode(0o755)).unwrap();
    let plain = bench.write("plain", "no program\n");
    for gpg in ["/nowhere/gpg".into(), failing, plain] {
        let ring = Ring::new(Some(bench.gnupg_home())).with_gpg(gpg.clone());
        let store = KeyStore::open(bench.path("host")).unwrap().with_ring(ring);
        let believed = store.trusted_with_gnupg(Role::Packages, &fingerprint).unwrap();
        let told = (believed.keys.fingerprints().count(), believed.unknown.len());
        assert_eq!(told, (0, 1), "{}", gpg.display());
        assert!(store.find_any(&key).unwrap_err().may_pass(), "{}", gpg.display());
    }
}

#[test]
fn a_name_of_several_keys_is_refused_with_all_of_them() {
    let bench = Bench::new();
    let keys = ["One", "Two"].map(|name| bench.gpg_key(&format!("{name} <team@example.org>"), "ed25519", ""));
    // Part of a name means nothing, and gpg would take it.
    assert!(matches!(refusal(&bench, "example.org"), KeyError::NotFound { .. }));
    let refused = refusal(&bench, "team@example.org");
    assert!(matches!(refused, KeyError::Ambiguous { .. }), "{refused}");
    for key in keys {
        assert!(refused.to_string().contains(&key), "{refused}");
    }
}

#[test]
fn a_strangers_public_key_of_the_same_name_is_in_nobodys_way() {
    let (bench, stranger) = (Bench::new(), Bench::new());
    let own = bench.gpg_key("Own <team@example.org>", "ed25519", "");
    let foreign = stranger.gpg_key("Stranger <team@example.org>", "ed25519", "");
    bench.gpg(&["--import"], &stranger.gpg(&["--export"], b""));
    let store = fresh_store(&bench, "host");
    let signer = ring_signer(&store, "team@example.org", Role::Packages).unwrap();
    assert_eq!(signer.fingerprint().to_string(), own);
    let found = store.find_any("team@example.org").unwrap();
    assert_eq!(found.fingerprint.to_string(), own);

    // What is said is said of the user's own key, even if that does not sign.
    revoke(&bench, &own);
    let refused = refusal(&bench, "team@example.org");
    assert!(
        matches!(refused, KeyError::Unusable(UnusableKey::Revoked { .. })),
        "{refused}"
    );
    // Which one is to be published is not guessed if neither signs.
    bench.gpg(&["--yes", "--delete-secret-keys", &own], b"");
    let refused = store.find_any("team@example.org").unwrap_err();
    assert!(matches!(refused, KeyError::Ambiguous { .. }), "{refused}");
    assert!(refused.to_string().contains(&foreign), "{refused}");
}

#[test]
fn an_expired_key_beside_its_successor_is_in_nobodys_way() {
    let bench = Bench::new();
    let old = bench.gpg_key("Old <team@example.org>", "ed25519", "");
    bench.gpg(&["--quick-set-expire", &old, "seconds=1"], b"");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let new = bench.gpg_key("New <team@example.org>", "ed25519", "");
    let store = fresh_store(&bench, "host");
    let signer = ring_signer(&store, "team@example.org", Role::Packages).unwrap();
    assert_eq!(signer.fingerprint().to_string(), new);
    // Where none is left, the newest is what is spoken of.
    revoke(&bench, &new);
    let refused = refusal(&bench, "team@example.org");
    assert!(refused.to_string().contains(&new), "{refused}");
    assert!(
        matches!(refused, KeyError::Unusable(UnusableKey::Revoked { .. })),
        "{refused}"
    );
}

#[test]
fn a_ring_with_the_public_key_alone_is_refused() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Public <public@example.org>", "ed25519", "");
    bench.gpg(&["--yes", "--delete-secret-keys", &fingerprint], b"");
    let refused = refusal(&bench, "public@example.org");
    assert!(
        matches!(refused, KeyError::Gnupg(GnupgError::PublicOnly { .. })),
        "{refused}"
    );
    let said = refused.to_string();
    assert!(
        said.contains("gpg --import FILE") && said.contains(bench.gnupg_home().to_str().unwrap()),
        "{said}"
    );
}

#[test]
fn an_expired_key_of_the_ring_is_refused_with_gpgs_own_remedy() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Old <old@example.org>", "ed25519", "");
    let store = fresh_store(&bench, "host");
    let signer = ring_signer(&store, "old@example.org", Role::Packages).unwrap();
    bench.gpg(&["--quick-set-expire", &fingerprint, "seconds=1"], b"");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let refused = refusal(&bench, "old@example.org");
    assert!(
        matches!(refused, KeyError::Unusable(UnusableKey::ExpiredInGnupg { .. })),
        "{refused}"
    );
    let remedy = format!("gpg --quick-set-expire {fingerprint} 2y");
    assert!(refused.to_string().contains(&remedy), "{refused}");
    // The remedy helps, and its signatures of the time before it hold.
    bench.gpg(&["--quick-set-expire", &fingerprint, "2y"], b"");
    assert!(signer.clear_sign(b"text\n").is_ok());
    let signer = ring_signer(&store, "old@example.org", Role::Packages).unwrap();
    let document = signer.clear_sign_dated(b"text\n", SOURCE).unwrap();
    let ran = gpgv_says(&bench, &store, &fingerprint, &document);
    assert!(ran.ok && ran.said.contains("VALIDSIG"), "{}", ran.said);
}

#[test]
fn a_revoked_key_of_the_ring_is_refused() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Gone <gone@example.org>", "ed25519", "");
    revoke(&bench, &fingerprint);
    let refused = refusal(&bench, "gone@example.org");
    assert!(
        matches!(refused, KeyError::Unusable(UnusableKey::Revoked { .. })),
        "{refused}"
    );
    assert!(refused.to_string().contains("can't be undone"), "{refused}");
}

/// Makes of the only key what `gpg --card-status` leaves of one that is on a card: its public half, and the card's number.
fn put_on_a_card(bench: &Bench) {
    let directory = bench.path("gnupg/private-keys-v1.d");
    let path = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    let key = fs::read_to_string(&path).unwrap();
    let (head, secret) = key.split_once("(d").unwrap();
    let (_, tail) = secret.split_once("#)").unwrap();
    let shadow = "(shadowed t1-v1 (#D2760001240102010006123456780000# OPENPGP.1))";
    let shadowed = format!(
        "{}{shadow}{tail}",
        head.replace("(private-key", "(shadowed-private-key")
    );
    fs::write(&path, shadowed).unwrap();
}

#[test]
fn a_pin_is_never_taken_from_a_file() {
    let bench = Bench::new();
    bench.gpg_key("Card <card@example.org>", "ed25519", "");
    put_on_a_card(&bench);
    // In place of GnuPG's program for cards, one that has a card with a PIN, and writes down what it is given for that.
    let pins = bench.path("pins");
    let card = format!(
        r#"#!/bin/sh
echo "OK"
while read -r command rest; do
  case "$command" in
    SERIALNO) echo "S SERIALNO D2760001240102010006123456780000"; echo OK ;;
    PKSIGN)
      echo "INQUIRE NEEDPIN ||Please enter the PIN"
      read -r answer
      echo "$answer" >>{}
      test "$answer" = CAN || read -r end
      echo "ERR 100663383 Bad PIN <SCD>" ;;
    BYE) echo OK; exit ;;
    *) echo OK ;;
  esac
done
"#,
        pins.display()
    );
    let card = bench.write("card", card);
    fs::set_permissions(&card, fs::Permissions::from_mode(0o755)).unwrap();
    let options = format!("scdaemon-program {}\npinentry-program /bin/false\n", card.display());
    bench.write("gnupg/gpg-agent.conf", options);
    kill_agent(&bench);

    let refused = refusal_to_sign(&bench, "card@example.org", &passphrase_file(&bench, "123456"));
    assert!(matches!(refused, GnupgError::Pin { .. }), "{refused}");
    assert!(refused.to_string().contains("gpg --local-user"), "{refused}");
    assert_eq!(fs::read_to_string(pins).unwrap(), "CAN\n");
}

#[test]
fn a_card_that_is_not_inserted_is_named_with_its_number() {
    let bench = Bench::new();
    bench.gpg_key("Card <card@example.org>", "ed25519", "");
    without_pinentry(&bench);
    put_on_a_card(&bench);
    // The start of a bot asks for no card.
    let refused = refusal_to_sign(&bench, "card@example.org", &PassphraseSource::none());
    // Where Debian's scdaemon is installed it looks for a reader; elsewhere it is what is missing.
    let said = refused.to_string();
    match refused {
        GnupgError::CardMissing { .. } => assert!(said.contains("not inserted"), "{said}"),
        GnupgError::NoCardDaemon { .. } => assert!(said.contains("apt install scdaemon"), "{said}"),
        other => panic!("{other}"),
    }
    assert!(
        said.contains("D2760001240102010006123456780000") && said.contains("gpg --card-status"),
        "{said}"
    );
}

#[test]
fn an_agent_that_is_gone_is_started_again() {
    let bench = Bench::new();
    bench.gpg_key("Agent <agent@example.org>", "ed25519", "");
    let store = fresh_store(&bench, "host");
    kill_agent(&bench);
    let signer = ring_signer(&store, "agent@example.org", Role::Packages).unwrap();
    kill_agent(&bench);
    signer.clear_sign(b"text\n").unwrap();
}

#[test]
fn an_agent_that_does_not_start_says_so_with_the_command_that_shows_why() {
    let bench = Bench::new();
    bench.gpg_key("Agent <agent@example.org>", "ed25519", "");
    kill_agent(&bench);
    // Something else is where its socket would be.
    fs::create_dir_all(bench.path("gnupg/S.gpg-agent/in the way")).unwrap();
    let refused = refusal(&bench, "agent@example.org");
    assert!(
        matches!(refused, KeyError::Gnupg(GnupgError::NoAgent { .. })),
        "{refused}"
    );
    let said = refused.to_string();
    assert!(
        said.contains("gpgconf --launch gpg-agent") && said.contains(bench.gnupg_home().to_str().unwrap()),
        "{said}"
    );
}

#[test]
fn a_ring_whose_path_is_too_long_for_a_socket_says_so() {
    let bench = Bench::new();
    bench.gpg_key("Long <long@example.org>", "ed25519", "");
    kill_agent(&bench);
    let home = bench.path(&"x".repeat(120));
    fs::rename(bench.gnupg_home(), &home).unwrap();
    let store = KeyStore::open(bench.path("host"))
        .unwrap()
        .with_gnupg_home(home.clone());
    let signer = ring_signer(&store, "long@example.org", Role::Packages);
    fs::rename(&home, bench.gnupg_home()).unwrap();
    // Where the user has a directory in /run/user the socket is there.
    if let Err(refused) = signer {
        assert!(
            matches!(refused, KeyError::Gnupg(GnupgError::SocketPath { .. })),
            "{refused}"
        );
        assert!(refused.to_string().contains("GNUPGHOME"), "{refused}");
    }
}

#[test]
fn a_passphrase_that_nobody_can_be_asked_for_is_named_with_its_remedies() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Locked <locked@example.org>", "ed25519", "open sesame");
    without_pinentry(&bench);
    let refused = refusal_to_sign(&bench, "locked@example.org", &PassphraseSource::none());
    assert!(matches!(refused, GnupgError::Passphrase { .. }), "{refused}");
    let said = refused.to_string();
    assert!(
        said.contains("FOUNDRY_PASSPHRASE_FILE") && said.contains("gpg --local-user KEY"),
        "{said}"
    );
    assert!(said.contains(&fingerprint), "{said}");
}

#[test]
fn the_hosts_passphrase_file_unlocks_a_key_of_the_ring() {
    let bench = Bench::new();
    bench.gpg_key("Locked <locked@example.org>", "ed25519", "open 100% sesame");
    without_pinentry(&bench);
    let wrong = passphrase_file(&bench, "open barley");
    let refused = refusal_to_sign(&bench, "locked@example.org", &wrong);
    assert!(
        matches!(&refused, GnupgError::WrongPassphrase { origin, .. } if origin.ends_with("passphrase")),
        "{refused}"
    );
    assert!(!refused.to_string().contains("barley"));
    assert!(refused.to_string().contains("[keys.passphrase-files]"), "{refused}");
    let store = fresh_store(&bench, "host");
    let right = passphrase_file(&bench, "open 100% sesame");
    let signer = store.signer("locked@example.org", Role::Packages, &right).unwrap();
    signer.clear_sign(b"text\n").unwrap();
    // From now on the agent remembers it, and asks nobody.
    ring_signer(&store, "locked@example.org", Role::Packages)
        .unwrap()
        .clear_sign(b"text\n")
        .unwrap();
}

/// In place of gpg-agent, one that says this of where the key is and to a passphrase's coming from a file, and that asks for
/// the passphrase. Returns what it was answered.
fn answered(bench: &Bench, place: &'static str, loopback: &'static str, passphrases: &PassphraseSource) -> String {
    use std::io::{BufRead as _, BufReader};
    kill_agent(bench);
    let socket = bench.path("gnupg/S.gpg-agent");
    let _ = fs::remove_file(&socket);
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (heard, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            stream.get_mut().write_all(b"OK\n").unwrap();
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
                let answer = match line.split(' ').next().unwrap_or_default().trim_end() {
                    "KEYINFO" => place.replace("GRIP", line.trim_end().rsplit(' ').next().unwrap()),
                    "OPTION" if line.contains("loopback") => loopback.to_owned(),
                    "PKSIGN" => "INQUIRE PASSPHRASE".to_owned(),
                    "D" => {
                        let _ = heard.send(line.clone());
                        String::new()
                    }
                    "CAN" => {
                        let _ = heard.send(line.clone());
                        "ERR 67109041 No passphrase given <GPG Agent>".to_owned()
                    }
                    "END" => "ERR 67108875 Bad passphrase <GPG Agent>".to_owned(),
                    _ => "OK".to_owned(),
                };
                line.clear();
                let answer = if answer.is_empty() { answer } else { answer + "\n" };
                if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    refusal_to_sign(bench, "disk@example.org", passphrases);
    fs::remove_file(&socket).unwrap();
    hear.recv_timeout(std::time::Duration::from_secs(20)).unwrap()
}

#[test]
fn a_passphrase_goes_to_no_agent_that_has_not_said_that_it_may() {
    let bench = Bench::new();
    bench.gpg_key("Disk <disk@example.org>", "ed25519", "");
    let passphrases = passphrase_file(&bench, "sesame");
    let on_disk = "S KEYINFO GRIP D - - - P - - -\nOK";
    let forbidden = "ERR 67109115 Forbidden <GPG Agent>";
    assert_eq!(answered(&bench, on_disk, "OK", &passphrases), "D sesame\n");
    assert_eq!(answered(&bench, on_disk, forbidden, &passphrases), "CAN\n");
    // It may have the key on a card.
    assert_eq!(answered(&bench, forbidden, "OK", &passphrases), "CAN\n");
}

#[test]
fn a_file_that_is_not_there_is_in_the_way_of_no_key_without_a_passphrase() {
    let bench = Bench::new();
    bench.gpg_key("Open <open@example.org>", "ed25519", "");
    bench.gpg_key("Locked <locked@example.org>", "ed25519", "open sesame");
    without_pinentry(&bench);
    let missing = PassphraseSource::none().with_common_file(bench.path("missing"));
    let store = fresh_store(&bench, "host");
    let signer = store.signer("open@example.org", Role::Packages, &missing).unwrap();
    signer.clear_sign(b"text\n").unwrap();

    let said = refusal_to_sign(&bench, "locked@example.org", &missing).to_string();
    assert!(
        said.contains(bench.path("missing").to_str().unwrap()) && said.contains("[keys.passphrase-files]"),
        "{said}"
    );
}

#[test]
fn a_user_id_as_long_as_a_line_of_the_protocol_signs() {
    let bench = Bench::new();
    // Two bytes for each letter, at odd places.
    let user_id = format!("x{} <long@example.org>", "é".repeat(500));
    bench.gpg_key(&user_id, "ed25519", "");
    ring_signer(&fresh_store(&bench, "host"), "long@example.org", Role::Packages)
        .unwrap()
        .clear_sign(b"text\n")
        .unwrap();
}

#[test]
fn the_agent_has_to_be_asked_for_messages_never() {
    let bench = Bench::new();
    bench.gpg_key("Host <host@example.org>", "ed25519", "");
    let refused = ring_signer(&fresh_store(&bench, "host"), "host@example.org", Role::Messages)
        .err()
        .unwrap();
    assert!(matches!(refused, KeyError::NotFound { .. }), "{refused}");
}
