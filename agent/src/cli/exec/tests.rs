//! The environment of the command, without a process.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::error::{ExecError, Names};
use super::resolve::batches;
use super::variables::Variables;
use crate::id::SecretId;
use crate::secret::SecretValue;

const A: &str = "$<poc:team:app:externalSecrets/a:>";
const B: &str = "$<poc:team:app:externalSecrets/b:0123>";

fn variables(list: &[(&str, &str)], clear: bool) -> Variables {
    let list: Vec<(OsString, OsString)> = list.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Variables::new(&list, clear)
}

fn assembled(variables: &Variables, values: &[&str]) -> Result<Vec<Vec<u8>>, ExecError> {
    let values: Vec<SecretValue> = values.iter().map(|value| SecretValue::new((*value).to_owned())).collect();
    let assembled = variables.assemble(&values.iter().collect::<Vec<_>>())?;
    Ok(assembled.pointers().into_iter().map(|variable| variable.to_bytes().to_vec()).collect())
}

fn texts(variables: &Variables, values: &[&str]) -> Vec<String> {
    assembled(variables, values).unwrap().into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
}

#[test]
fn a_placeholder_is_a_value_or_a_part_of_one_and_asked_for_once() {
    let url = format!("https://{A}:{B}@host/{A}?x=$<no:placeholder>");
    let variables = variables(&[("URL", &url), ("ONE", A), ("PLAIN", "$HOME $$"), ("EMPTY", "")], false);
    assert_eq!(variables.ids().len(), 2);
    assert_eq!(
        texts(&variables, &["us\ner", "p\"'ä𝄞"]),
        ["URL=https://us\ner:p\"'ä𝄞@host/us\ner?x=$<no:placeholder>", "ONE=us\ner", "PLAIN=$HOME $$", "EMPTY="]
    );
}

#[test]
fn what_stands_in_a_value_is_not_looked_at_again() {
    let variables = variables(&[("ONE", A)], false);
    assert_eq!(texts(&variables, &[B]), [format!("ONE={B}")]);
}

#[test]
fn bytes_that_are_no_text_stay_and_hide_no_placeholder() {
    let mut value = b"\xff\xfe".to_vec();
    value.extend_from_slice(A.as_bytes());
    value.extend_from_slice(b"\xc3");
    let variables = Variables::new(&[("ODD".into(), OsString::from_vec(value))], false);
    assert_eq!(assembled(&variables, &["v"]).unwrap(), [b"ODD=\xff\xfev\xc3".to_vec()]);
}

#[test]
fn own_variables_are_dropped_and_not_asked_for() {
    let variables = variables(&[("CLOAKROOM_SOCKET", "/s"), ("CLOAKROOM_X", A), ("CLOAKROOMS", "1")], false);
    assert!(variables.ids().is_empty());
    assert_eq!(texts(&variables, &[]), ["CLOAKROOMS=1"]);
}

#[test]
fn a_cleared_environment_has_what_had_placeholders_and_path_and_home() {
    let list = [("PATH", "/bin"), ("HOME", "/h"), ("LANG", "C"), ("ONE", A), ("HOMELESS", "1")];
    assert_eq!(texts(&variables(&list, true), &["v"]), ["PATH=/bin", "HOME=/h", "ONE=v"]);
}

#[test]
fn a_nul_is_refused_with_the_names_of_all_variables_that_would_have_it() {
    let variables = variables(&[("ONE", A), ("TWO", B), ("BOTH", &format!("{A}{B}"))], false);
    let Err(error) = assembled(&variables, &["s3cr3t\0", "v"]) else { panic!("a NUL was taken") };
    assert_eq!(error.to_string(), "the value of ONE, BOTH has a NUL in it, which no environment can hold");
}

#[test]
fn many_names_are_counted_and_odd_ones_steer_no_terminal() {
    let names = Names((0..23).map(|number| format!("V{number}")).collect());
    assert!(names.to_string().ends_with("V18, V19 and 3 more"), "{names}");
    let odd = variables(&[("A\u{1b}[2J", A)], false);
    assert_eq!(odd.names(|_| true).to_string(), "A?[2J");
}

#[test]
fn batches_keep_their_order_and_both_limits() {
    let short: Vec<SecretId> = (0..250)
        .map(|n| {
            SecretId::parse(&format!("poc:t:a:zones/{n}:"))
                .or_else(|_| SecretId::parse(&format!("poc:t:a:externalSecrets/{n}:")))
                .unwrap()
        })
        .collect();
    let references: Vec<&SecretId> = short.iter().collect();
    assert_eq!(batches(&references).iter().map(|batch| batch.len()).collect::<Vec<_>>(), [100, 100, 50]);
    let long: Vec<SecretId> = (100..200)
        .map(|n| SecretId::parse(&format!("poc:t:a:externalSecrets/{n}{}:", "+".repeat(190))).unwrap())
        .collect();
    let references: Vec<&SecretId> = long.iter().collect();
    let cut = batches(&references);
    assert!(cut.len() > 1 && cut.iter().all(|batch| (1..30).contains(&batch.len())));
    assert_eq!(cut.concat(), references);
    assert!(batches(&[]).is_empty());
}
