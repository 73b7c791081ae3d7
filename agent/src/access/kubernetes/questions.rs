//! What the API server was asked, what it said, and until when that is believed.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::{Equivalent, IndexMap};

use crate::access::{AccessError, Action, Decision, Subject, Target};
use crate::clock::Moment;
use crate::id::Scope;

/// Questions that are remembered. Beyond that, what was said is forgotten early, and asked again.
const QUESTIONS_MAX: usize = 4096;

/// Below this nothing is forgotten early or late: what is not believed any more is not much.
const QUESTIONS_KEPT: usize = 64;

/// A yes or a no, or why there is neither.
pub(super) type Answer = Result<Decision, AccessError>;

/// One thing that may be asked.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) subject: &'a Subject,
    pub(super) action: Action,
    pub(super) target: Target<'a>,
}

impl<'a> Question<'a> {
    fn parts(&self) -> (&'a Subject, Action, [&'a str; 3]) {
        (self.subject, self.action, [self.target.env, self.target.team, self.target.app])
    }
}

impl Hash for Question<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.parts() == key.question().parts()
    }
}

/// A question that is remembered.
struct Key {
    subject: Subject,
    action: Action,
    scope: Scope,
}

impl Key {
    fn question(&self) -> Question<'_> {
        Question { subject: &self.subject, action: self.action, target: Target::from(&self.scope) }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.question().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.question().equivalent(other)
    }
}

impl Eq for Key {}

/// What is known of one question.
#[derive(Default)]
struct Known {
    said: Option<(Answer, Moment)>,
    /// Held by whoever asks, while somebody asks or waits.
    asking: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Known {
    fn answer(&self, now: Moment) -> Option<Answer> {
        self.said.filter(|(_, until)| now < *until).map(|(answer, _)| answer)
    }
}

/// All questions of one agent.
#[derive(Default)]
pub(super) struct Questions(Mutex<State>);

#[derive(Default)]
struct State {
    known: IndexMap<Key, Known>,
    /// What is not believed any more is forgotten when there are this many.
    prune_at: usize,
}

impl Questions {
    /// What was said, if that is still believed.
    pub(super) fn answer(&self, question: Question<'_>, now: Moment) -> Option<Answer> {
        self.lock().known.get(&question)?.answer(now)
    }

    /// A turn to ask whether `subject` may do `action` in `scope`.
    pub(super) fn turn<'a>(&'a self, subject: &'a Subject, action: Action, scope: &'a Scope, now: Moment) -> Turn<'a> {
        let question = Question { subject, action, target: Target::from(scope) };
        let mut state = self.lock();
        let at = state.known.get_index_of(&question).unwrap_or_else(|| {
            state.make_room(now);
            let key = Key { subject: subject.clone(), action, scope: scope.clone() };
            state.known.insert_full(key, Known::default()).0
        });
        let asking = state.known.get_index_mut(at).map(|(_, known)| Arc::clone(known.asking.get_or_insert_default()));
        Turn { questions: self, question, asking: asking.unwrap_or_default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // An answer is replaced as a whole, and one that is lost is asked for again.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_room(&mut self, now: Moment) {
        if self.known.len() < self.prune_at {
            return;
        }
        self.known.retain(|_, known| known.asking.is_some() || known.answer(now).is_some());
        if self.known.len() >= QUESTIONS_MAX {
            self.known.retain(|_, known| known.asking.is_some());
        }
        self.prune_at = (self.known.len() * 2).clamp(QUESTIONS_KEPT, QUESTIONS_MAX);
    }
}

/// Somebody who asks, or waits for who asks.
pub(super) struct Turn<'a> {
    questions: &'a Questions,
    pub(super) question: Question<'a>,
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl Turn<'_> {
    /// Resolves when nobody else asks the same.
    pub(super) async fn come(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.asking.lock().await
    }

    /// Remembers what was said.
    pub(super) fn note(&self, answer: Answer, until: Moment) {
        if let Some(known) = self.questions.lock().known.get_mut(&self.question) {
            known.said = Some((answer, until));
        }
    }
}

/// Also where whoever waited has gone away.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.questions.lock();
        let Some(known) = state.known.get_mut(&self.question) else { return };
        // This one and the map's: nobody else waits.
        if Arc::strong_count(&self.asking) <= 2 {
            known.asking = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn says(questions: &Questions, subject: &Subject, action: Action, text: &str, now: Moment) -> Option<Answer> {
        let scope = scope(text);
        questions.answer(Question { subject, action, target: Target::from(&scope) }, now)
    }

    #[test]
    fn an_answer_is_to_exactly_one_question_and_ends_when_its_time_ends() {
        let (clock, questions) = (Clock::manual(), Questions::default());
        let [one, two] = [1, 2].map(|uid| Subject::from_uid(uid).unwrap());
        let until = clock.now() + Duration::from_secs(5);
        questions.turn(&one, Action::Read, &scope("poc/team"), clock.now()).note(Ok(Decision::Allow), until);
        let says = |subject, action, text| says(&questions, subject, action, text, clock.now());
        assert_eq!(says(&one, Action::Read, "poc/team"), Some(Ok(Decision::Allow)));
        assert_eq!(says(&two, Action::Read, "poc/team"), None);
        assert_eq!(says(&one, Action::Write, "poc/team"), None);
        for other in ["poc", "poc/team/app", "poc/teams"] {
            assert_eq!(says(&one, Action::Read, other), None, "{other}");
        }
        clock.advance(Duration::from_secs(5));
        assert_eq!(says(&one, Action::Read, "poc/team"), None);
    }

    #[test]
    fn n8_what_is_remembered_of_questions_has_its_cap() {
        let (clock, questions) = (Clock::manual(), Questions::default());
        let subject = Subject::from_uid(1).unwrap();
        let asked = scope("asked");
        let asks = questions.turn(&subject, Action::Read, &asked, clock.now());
        let until = clock.now() + Duration::from_secs(5);
        for number in 0..3 * QUESTIONS_MAX {
            let scope = scope(&format!("env-{number}"));
            questions.turn(&subject, Action::Read, &scope, clock.now()).note(Ok(Decision::Deny), until);
            assert!(questions.lock().known.len() <= QUESTIONS_MAX + 1);
        }
        asks.note(Ok(Decision::Allow), until);
        let allowed = says(&questions, &subject, Action::Read, "asked", clock.now());
        assert_eq!(allowed, Some(Ok(Decision::Allow)), "somebody was waiting for it");
        drop(asks);
        // All of it has ended, and is forgotten with the next that finds the table full.
        clock.advance(Duration::from_secs(6));
        for number in 0..QUESTIONS_MAX {
            drop(questions.turn(&subject, Action::Write, &scope(&format!("env-{number}")), clock.now()));
        }
        assert!(questions.lock().known.len() <= QUESTIONS_KEPT, "{}", questions.lock().known.len());
    }

    #[tokio::test]
    async fn who_waits_is_let_in_when_who_asks_has_gone_away() {
        let (clock, questions) = (Clock::manual(), Questions::default());
        let (subject, scope) = (Subject::from_uid(1).unwrap(), scope("poc"));
        let first = questions.turn(&subject, Action::Read, &scope, clock.now());
        let second = questions.turn(&subject, Action::Read, &scope, clock.now());
        let asking = first.come().await;
        assert!(futures_util::FutureExt::now_or_never(second.come()).is_none());
        drop(asking);
        drop(first);
        assert!(futures_util::FutureExt::now_or_never(second.come()).is_some());
        drop(second);
        assert!(questions.lock().known.values().all(|known| known.asking.is_none()), "nothing is left of who asked");
    }
}
