//! Templates: what can be said in one, and that none costs more than it may or tells what it was given.

use std::sync::Arc;

use super::*;

const A: &str = "poc:eni--hyperion:my-app:externalSecrets/a:";

fn run(source: &str, value: &'static str) -> Result<String, TemplateError> {
    let template = Template::read(source, 1 << 20)?;
    match template.render(Arc::new(move |_| Some(minijinja::Value::from(value))), 1 << 20)? {
        Rendered::Text(text) => Ok(String::from_utf8(text.to_vec()).unwrap()),
        Rendered::Missing(ids) => panic!("{ids:?}"),
    }
}

fn made(source: &str, value: &'static str) -> String {
    run(&source.replace('@', A), value).unwrap()
}

fn mistake(source: &str) -> Mistake {
    run(&source.replace('@', A), "hunter2hunter2").unwrap_err().mistake
}

#[test]
fn values_stand_where_they_are_asked_for() {
    assert_eq!(made("a: {{ secret('@') }}\n", "v"), "a: v\n");
    assert_eq!(made("{{ secret('$<@>') }}", "v"), "v");
    assert_eq!(made("{% for v in secrets(['@', '@']) %}{{ v }}{{ ',' if not loop.last }}{% endfor %}", "v"), "v,v");
    assert_eq!(made("{{ secrets(['@']) | json }} {{ {'a': secret('@')} | json }}", "\""), r#"["\""] {"a":"\""}"#);
    assert_eq!(made("{% if secret('@') == 'on' %}yes{% else %}no{% endif %}", "on"), "yes");
    assert_eq!(made("{% set x = secret('@') %}{{ x ~ x }}", "v"), "vv");
}

#[test]
fn encoders_are_filters_and_functions() {
    assert_eq!(made("{{ secret('@') | b64enc }} {{ b64enc(secret('@')) }}", "v"), "dg== dg==");
    assert_eq!(made("{{ secret('@') | b64dec }}", "dg=="), "v");
    assert_eq!(made("{{ secret('@') | shell }}", "it's"), r"'it'\''s'");
    assert_eq!(made("{{ secret('@') | url }}", "a b/ü"), "a%20b%2F%C3%BC");
    assert_eq!(made("{{ secret('@') | yaml }}", "a\u{85}"), r#""a\u0085""#);
    assert_eq!(made("{{ secret('@') | xml }}", "<&>"), "&lt;&amp;&gt;");
    assert_eq!(made("a:\n  {{ secret('@') | indent(2) }}", "b\n\nc"), "a:\n  b\n\n  c");
    assert_eq!(made("{{ secret('@') | indent(width=1, first=true) }}", "b"), " b");
    assert_eq!(made("{{ 8080 | json }} {{ true | yaml }}", ""), "8080 \"true\"");
}

#[test]
fn a_value_is_text_and_nothing_else() {
    assert_eq!(made("{{ secret('@') }}", "{{ secret('x') }}{% raw %}"), "{{ secret('x') }}{% raw %}");
    // A value names no secret.
    assert_eq!(mistake("{{ secret(secret('@')) }}"), Mistake::Id);
}

#[test]
fn what_is_asked_for_on_the_way_is_found_by_running() {
    let source = "{% if secret('poc:eni--hyperion:my-app:externalSecrets/on:') == 'yes' %}{{ secret('@') }}{% endif %}";
    let template = Template::read(&source.replace('@', A), 1 << 20).unwrap();
    assert_eq!(template.ids().len(), 1);
    let first = template.ids()[0].clone();
    let lookup: Lookup = Arc::new(move |id| (*id == first).then(|| minijinja::Value::from("yes")));
    match template.render(lookup, 1 << 20).unwrap() {
        Rendered::Missing(ids) => assert_eq!(ids[0].to_string(), A),
        Rendered::Text(_) => panic!("it has a value that nobody gave it"),
    }
}

#[test]
fn t5_what_does_not_exist_is_refused_at_load() {
    for source in [
        "{{ env('HOME') }}",
        "{{ env.HOME }}",
        "{% if false %}{{ file('/etc/passwd') }}{% endif %}",
        "{% if false %}{{ 'a' | upper }}{% endif %}",
        "{% if false %}{% filter upper %}a{% endfilter %}{% endif %}",
        "{{ range(10) }}",
        "{{ dict(a=1) }}",
        "{{ lookup('env', 'HOME') }}",
        "{{ ''.__class__ }}",
        "{% if 'a' is defined %}{% endif %}",
        "{{ now() }}",
        "{{ self }}",
        "{{ debug() }}",
    ] {
        let error = Template::read(source, 1 << 20).err().unwrap_or_else(|| panic!("{source}"));
        assert!(matches!(error.mistake, Mistake::Unknown | Mistake::Undefined), "{source}: {error}");
    }
    for source in [
        "{% include '/etc/passwd' %}",
        "{% import 'a' as a %}",
        "{% extends 'a' %}",
        "{% from 'a' import b %}",
        "{% macro a() %}{% endmacro %}",
        "{% block a %}{% endblock %}",
        "{% do 1 %}",
        "{{ 1 + }}",
        "{% if %}",
    ] {
        assert_eq!(Template::read(source, 1 << 20).err().map(|error| error.mistake), Some(Mistake::Syntax), "{source}");
    }
}

#[test]
fn t5_what_never_ends_or_grows_too_large_is_stopped() {
    let list = |items: usize| format!("[{}]", vec!["1"; items].join(","));
    let nested = |depth: usize, body: &str| {
        let begin: Vec<String> = (0..depth).map(|level| format!("{{% for a{level} in {} %}}", list(100))).collect();
        let begin = begin.concat();
        format!("{begin}{body}{}", "{% endfor %}".repeat(depth))
    };
    let doubled = format!("{{% set x = 'x' * 1000 %}}{}", "{% set x = x ~ x %}".repeat(40));
    let captured = format!("{{% set x = 'xx' %}}{}", "{% set x %}{{ x }}{{ x }}{% endset %}".repeat(40));
    for source in [
        nested(10, ""),
        nested(10, "x"),
        nested(5, "{{ secret('@') }}"),
        doubled,
        captured,
        "{{ 'x' * 1073741824 }}".to_owned(),
        "{{ [1] * 1073741824 }}".to_owned(),
        "{% for a in [1] * 1000000000 %}{% endfor %}".to_owned(),
        "{{ ('x' * 10000000) | json }}{{ ('x' * 10000000) | indent(9) }}".to_owned(),
        "{{ ('\\n' * 1000000) | indent(256) }}".to_owned(),
        "{% set a = ['x' * 1000000] * 100 %}{{ a | json }}".to_owned(),
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{% set s = 'a' * 4000000 %}{% set t = 'a' * 4000000 %}{% for a in [1] * 30000 %}{% if s == t %}{% endif %}{% endfor %}"
            .to_owned(),
    ] {
        let found = mistake(&source);
        let stopped = matches!(found, Mistake::Work | Mistake::Output | Mistake::Operation | Mistake::Time);
        assert!(stopped, "{found:?}: {source:.80}");
    }
}

#[test]
fn n8_nothing_is_cut_by_a_slice_which_would_cost_nothing_and_take_long() {
    for source in ["{{ 'abc'[0:1] }}", "{{ 'abc'[::-1] }}", "{{ [1, 2][{'a': 1}['a']:] }}"] {
        assert_eq!(mistake(source), Mistake::Slice, "{source}");
    }
    assert_eq!(run("{{ {'a': 'x'}['a'] }}{{ [{'a': 'y'}][0]['a'] }}", "").unwrap(), "xy");
}

#[test]
fn n8_a_first_look_does_a_small_part_of_the_work_and_finds_what_it_meets() {
    let glance = |source: &str| Template::glance(source, 1 << 20).map(drop).map_err(|error| error.mistake);
    // A mistake behind more work than a first look does.
    let late = format!("{}{{{{ 'x'|indent(300) }}}}", "{{ 'x'|json }}".repeat(10_000));
    assert_eq!(mistake(&late), Mistake::Width);
    assert_eq!(glance(&late), Ok(()));
    assert_eq!(glance("{{ 'x'|indent(300) }}"), Err(Mistake::Width));
    assert_eq!(glance("{{ env }}"), Err(Mistake::Unknown));
    assert_eq!(glance("{{ secret('no id') }}"), Err(Mistake::Id));
}

#[test]
fn t5_what_is_too_deep_is_refused() {
    let million = 1_000_000;
    for source in [
        format!("{{{{ {}1{} }}}}", "(".repeat(million), ")".repeat(million)),
        format!("{{{{ {}1{} }}}}", "(".repeat(900), ")".repeat(900)),
        format!("{{{{ {}1{} }}}}", "[".repeat(500), "]".repeat(500)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "|json".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{}{}", "{% if 1 %}".repeat(40_000), "{% endif %}".repeat(40_000)),
        "{{".repeat(400_000),
    ] {
        let found = Template::read(&source, 1 << 20).err().map(|error| error.mistake);
        assert!(matches!(found, Some(Mistake::TooLarge | Mistake::Syntax)), "{found:?}: {source:.40}");
    }
    // What is just allowed needs no more stack than there is.
    let long = format!("{{{{ 1{} }}}}", " + 1".repeat(990));
    assert_eq!(run(&long, "").unwrap(), "991");
    assert_eq!(run(&format!("{{{{ {}1 }}}}", "- ".repeat(1900)), "").unwrap(), "1");
}

#[test]
fn t4_no_mistake_tells_anything_of_a_value_or_the_template() {
    let value = "hunter2\n\"hunter2\\é";
    for source in [
        "{{ secret('@') + 1 }}",
        "{{ secret('@') | b64dec }}",
        "{{ secret('@').missing.deeper }}",
        "{{ secret('@')[secret('@')].x }}",
        "{{ secret('@') | indent(secret('@')) }}",
        "{{ secret('@') | json(secret('@')) }}",
        "{{ secret(secret('@')) }}",
        "{{ secrets(secret('@')) }}",
        "{{ secret('@')() }}",
        "{% for a, b in [secret('@')] %}{% endfor %}",
        "{{ -secret('@') }}",
        "{{ secret('@') * secret('@') }}",
        "{{ secret('@').upper() }}",
        "{{ {secret('@'): [{}]} | json(x=secret('@')) }}",
    ] {
        let source = source.replace('@', A);
        // Whether it shows with a dummy or only with the value.
        let error = match Template::read(&source, 1 << 20) {
            Err(error) => error,
            Ok(template) => {
                let lookup: Lookup = Arc::new(move |_| Some(minijinja::Value::from(value)));
                template.render(lookup, 1 << 20).err().unwrap_or_else(|| panic!("{source}"))
            }
        };
        let mut said = format!("{error} {error:?} {error:#?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            said = format!("{said} {error} {error:?}");
            cause = error.source();
        }
        assert!(!said.contains("hunter2") && !said.contains("poc:"), "{source}: {said}");
    }
}

#[test]
fn a_mistake_has_its_line() {
    let error = Template::read("a\nb\n{{ env('X') }}\n", 1 << 20).err().unwrap();
    assert_eq!(error.to_string().split(':').next(), Some("line 3"));
    let error = Template::read("a\n{{ 'x' + 1 }}\n", 1 << 20).err().unwrap();
    assert_eq!(error.line, Some(2));
}

#[test]
fn a_file_has_a_largest_size() {
    assert_eq!(Template::read("{{ 'x' * 100 }}", 99).err().map(|error| error.mistake), Some(Mistake::Output));
    assert!(Template::read("{{ 'x' * 100 }}", 100).is_ok());
}
