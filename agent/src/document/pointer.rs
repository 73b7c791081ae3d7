//! JSON Pointers (RFC 6901) in which `*` is any member or item, matched step by step while a document is read.

/// Steps of one pointer: what is deeper is refused in a document, so that more can match nothing.
const STEPS_MAX: usize = super::DEPTH_MAX;

/// Bytes of one pointer.
const BYTES_MAX: usize = 4096;

/// Why a text is no pointer. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with `/`.
    #[error("a JSON Pointer is empty or begins with `/`")]
    Start,
    /// A `~` that is neither `~0` nor `~1`.
    #[error("in a JSON Pointer `~` is written `~0` and `/` within a name `~1`")]
    Escape,
    /// More steps, or more bytes, than any place in a document has.
    #[error("a JSON Pointer has at most {STEPS_MAX} steps and {BYTES_MAX} bytes")]
    TooLong,
}

/// A place in a document, or with `*` a family of places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Box<[Token]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `*`
    Any,
    /// A member of this name, or where it is a number as RFC 6901 §4 writes one, the item of that index.
    Named(Box<str>, Option<usize>),
}

/// One step from a container to what is in it.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Member(&'a str),
    /// A member whose key is a list or a map, which YAML has.
    Nameless,
    Item(usize),
}

impl Pointer {
    /// Parses the text form.
    ///
    /// # Errors
    /// [`PointerError`].
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self(Box::default()));
        }
        if text.len() > BYTES_MAX {
            return Err(PointerError::TooLong);
        }
        let steps = text.strip_prefix('/').ok_or(PointerError::Start)?;
        let tokens = steps.split('/').map(Token::parse).collect::<Result<Box<[_]>, _>>()?;
        if tokens.len() > STEPS_MAX { Err(PointerError::TooLong) } else { Ok(Self(tokens)) }
    }
}

impl Token {
    fn parse(text: &str) -> Result<Self, PointerError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let mut name = String::with_capacity(text.len());
        let mut parts = text.split('~');
        name.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (escaped, rest) = match part.as_bytes().first() {
                Some(b'0') => ('~', part.get(1..)),
                Some(b'1') => ('/', part.get(1..)),
                _ => return Err(PointerError::Escape),
            };
            name.push(escaped);
            name.push_str(rest.unwrap_or_default());
        }
        // Without a leading zero or a sign, so that one item has one name.
        let index = name.parse::<usize>().ok().filter(|index| index.to_string() == name);
        Ok(Self::Named(name.into(), index))
    }

    fn matches(&self, step: Step<'_>) -> bool {
        match (self, step) {
            (Self::Any, _) => true,
            (Self::Named(name, _), Step::Member(member)) => **name == *member,
            (Self::Named(..), Step::Nameless) => false,
            (Self::Named(_, index), Step::Item(item)) => *index == Some(item),
        }
    }
}

/// Writes `name` as one step of a pointer.
pub(super) fn push_step(pointer: &mut String, step: Step<'_>) {
    pointer.push('/');
    match step {
        Step::Nameless => {}
        Step::Item(index) => pointer.push_str(&index.to_string()),
        Step::Member(name) => {
            for character in name.chars() {
                match character {
                    '~' => pointer.push_str("~0"),
                    '/' => pointer.push_str("~1"),
                    other => pointer.push(other),
                }
            }
        }
    }
}

/// How far a pointer reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// To the one place that it names.
    Place,
    /// To that and everything in it.
    Below,
}

/// Some pointers, in their order.
#[derive(Clone, Debug)]
pub(super) struct Pointers {
    pointers: Vec<Pointer>,
    extent: Extent,
}

/// Which pointers lead to a place, or through it: the number of each, and how many steps of it are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach(Vec<(u8, u8)>);

/// Some pointer covers all that is here. Which one does not matter, so that two such places are reached alike.
const COVERED: (u8, u8) = (u8::MAX, u8::MAX);

impl Pointers {
    /// Of at most 255, because each is numbered by a byte; those that callers may give are fewer.
    pub(super) fn new(mut pointers: Vec<Pointer>, extent: Extent) -> Self {
        pointers.truncate(usize::from(u8::MAX));
        Self { pointers, extent }
    }

    /// How a whole document is reached.
    pub(super) fn root(&self) -> Reach {
        let numbers = (0..self.pointers.len()).filter_map(|number| u8::try_from(number).ok());
        self.settled(numbers.map(|number| (number, 0)).collect())
    }

    /// How the place is reached to which one step leads.
    pub(super) fn step(&self, reach: &Reach, step: Step<'_>) -> Reach {
        let mut next = Vec::new();
        for &(number, taken) in &reach.0 {
            match self.token(number, taken) {
                Some(token) if token.matches(step) => next.push((number, taken + 1)),
                None if self.extent == Extent::Below => return Reach(vec![COVERED]),
                Some(_) | None => {}
            }
        }
        self.settled(next)
    }

    /// The first pointer that names the place, or covers it.
    pub(super) fn hit(&self, reach: &Reach) -> Option<usize> {
        reach.0.iter().find(|(number, taken)| self.token(*number, *taken).is_none()).map(|(number, _)| (*number).into())
    }

    fn settled(&self, reach: Vec<(u8, u8)>) -> Reach {
        let reach = Reach(reach);
        if self.extent == Extent::Below && self.hit(&reach).is_some() { Reach(vec![COVERED]) } else { reach }
    }

    fn token(&self, number: u8, taken: u8) -> Option<&Token> {
        self.pointers.get(usize::from(number))?.0.get(usize::from(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pointer: &str, extent: Extent, steps: &[Step<'_>]) -> bool {
        let pointers = Pointers::new(vec![Pointer::parse(pointer).unwrap()], extent);
        let reach = steps.iter().fold(pointers.root(), |reach, step| pointers.step(&reach, *step));
        pointers.hit(&reach).is_some()
    }

    const A: Step<'_> = Step::Member("a");

    #[test]
    fn a_pointer_names_one_place_and_a_star_any_member_or_item() {
        let exact = |pointer, steps: &[Step<'_>]| covers(pointer, Extent::Place, steps);
        assert!(exact("", &[]) && exact("/a", &[A]) && exact("/a/0", &[A, Step::Item(0)]));
        assert!(exact("/*/b", &[A, Step::Member("b")]) && exact("/*/b", &[Step::Item(7), Step::Member("b")]));
        assert!(exact("/", &[Step::Member("")]) && exact("/a~1b~0c", &[Step::Member("a/b~c")]));
        assert!(exact("/~01", &[Step::Member("~1")]), "an escape is not read twice");
        assert!(exact("/0", &[Step::Member("0")]), "a number may be a name");
        assert!(exact("/*", &[Step::Nameless]) && !exact("/", &[Step::Nameless]));
        assert!(!exact("/a", &[A, A]) && !exact("/a/a", &[A]) && !exact("", &[A]) && !exact("/b", &[A]));
        for index in ["/00", "/+1", "/-", "/01", "/ 1"] {
            assert!((0..20).all(|item| !exact(index, &[Step::Item(item)])), "{index}");
        }
    }

    #[test]
    fn what_is_below_a_place_is_covered_where_that_is_asked_for() {
        assert!(covers("/a", Extent::Below, &[A, A, Step::Item(3)]) && covers("", Extent::Below, &[A]));
        assert!(!covers("/a/b", Extent::Below, &[A]) && !covers("/a/b", Extent::Below, &[A, A]));
    }

    #[test]
    fn of_several_pointers_the_first_that_names_a_place_counts() {
        let texts = ["/b", "/a/x", "/*", "/a"];
        let pointers = texts.map(|text| Pointer::parse(text).unwrap()).to_vec();
        let pointers = Pointers::new(pointers, Extent::Place);
        let at = |step| pointers.hit(&pointers.step(&pointers.root(), step));
        assert_eq!((at(A), at(Step::Member("b")), at(Step::Item(1))), (Some(2), Some(0), Some(2)));
    }

    #[test]
    fn a_text_that_is_no_pointer_is_refused() {
        assert_eq!(Pointer::parse("a"), Err(PointerError::Start));
        for text in ["/~", "/~2", "/a~", "/~~0"] {
            assert_eq!(Pointer::parse(text), Err(PointerError::Escape), "{text}");
        }
        assert!(Pointer::parse(&"/a".repeat(STEPS_MAX)).is_ok());
        assert_eq!(Pointer::parse(&"/a".repeat(STEPS_MAX + 1)), Err(PointerError::TooLong));
        assert_eq!(Pointer::parse(&format!("/{}", "a".repeat(BYTES_MAX))), Err(PointerError::TooLong));
    }

    #[test]
    fn a_step_is_written_as_it_is_read() {
        for name in ["a/b", "~", "~1", "", "*x", "ü"] {
            let mut text = String::new();
            push_step(&mut text, Step::Member(name));
            assert!(covers(&text, Extent::Place, &[Step::Member(name)]), "{text}");
        }
    }
}
