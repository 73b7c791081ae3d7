//! What can be told of a template from its tokens: sizes that the library's reader must not meet, and names of filters
//! and tests, which it would only miss where a run comes by.

use minijinja::machinery::{Token, tokenize};

use super::{Mistake, TemplateError, functions};

/// Tokens of one expression or statement. The library's reader builds a tree as deep as an expression is long, and walks
/// it by calling itself.
const TOKENS_MAX: usize = 2000;

/// Blocks within blocks.
const NESTED_MAX: usize = 64;

/// Tokens of all expressions and statements.
const ALL_MAX: usize = 200_000;

/// What a run of a template may be like.
pub(super) struct Glance {
    /// It may compare texts, which costs one instruction however long they are.
    pub(super) compares: bool,
}

pub(super) fn check(source: &str) -> Result<Glance, TemplateError> {
    let (mut in_this, mut all, mut nested) = (0_usize, 0_usize, 0_usize);
    let mut before = Before::Begin;
    let mut compares = false;
    // The brackets that are open; a colon right within `[…]` cuts.
    let mut open = Vec::new();
    let syntax = minijinja::syntax::SyntaxConfig::default();
    for token in tokenize(source, false, syntax) {
        let (token, span) = token.map_err(|error| TemplateError { line: error.line(), mistake: Mistake::Syntax })?;
        let at = |mistake| Err(TemplateError { line: Some(span.start_line as usize), mistake });
        let (now, begins) = match &token {
            Token::BlockStart => (Before::Block, true),
            Token::VariableStart | Token::TemplateData(_) => (Before::Other, true),
            Token::Pipe => (Before::Pipe, false),
            Token::Ident(name) => {
                match before {
                    // There are no tests at all.
                    _ if *name == "is" && before != Before::Dot => return at(Mistake::Unknown),
                    Before::Pipe | Before::Filter if !functions::FILTERS.contains(name) => return at(Mistake::Unknown),
                    Before::Block if name.starts_with("end") => nested = nested.saturating_sub(1),
                    Before::Block if matches!(*name, "if" | "for" | "with" | "filter" | "autoescape") => {
                        nested += 1;
                        if nested > NESTED_MAX {
                            return at(Mistake::TooLarge);
                        }
                    }
                    _ => {}
                }
                (if before == Before::Block && *name == "filter" { Before::Filter } else { Before::Other }, false)
            }
            Token::Dot => (Before::Dot, false),
            _ => (Before::Other, false),
        };
        match token {
            // It costs one instruction, and may walk through all of a text.
            Token::Colon if matches!(open.last(), Some(Token::BracketOpen)) => return at(Mistake::Slice),
            Token::BracketOpen | Token::BraceOpen | Token::ParenOpen => open.push(token),
            Token::BracketClose | Token::BraceClose | Token::ParenClose => drop(open.pop()),
            Token::Eq | Token::Ne | Token::Gt | Token::Gte | Token::Lt | Token::Lte => compares = true,
            _ if begins => open.clear(),
            _ => {}
        }
        before = now;
        in_this = if begins { 0 } else { in_this + 1 };
        all += 1;
        if in_this > TOKENS_MAX || all > ALL_MAX {
            return at(Mistake::TooLarge);
        }
    }
    Ok(Glance { compares })
}

/// What stands before a token, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Begin,
    Block,
    Filter,
    Pipe,
    Dot,
    Other,
}

/// The line of the first name that is called and is no function.
pub(super) fn line_of_unknown(source: &str) -> Option<usize> {
    let tokens = tokenize(source, false, minijinja::syntax::SyntaxConfig::default());
    let tokens: Vec<_> = tokens.map_while(Result::ok).collect();
    tokens.windows(2).find_map(|pair| match pair {
        [(Token::Ident(name), span), (Token::ParenOpen, _)] if !functions::NAMES.contains(name) => {
            Some(span.start_line as usize)
        }
        _ => None,
    })
}
