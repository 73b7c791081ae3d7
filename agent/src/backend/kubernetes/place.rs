//! Where a scope's Secret is: an injective map, because no environment holds `--` and no team or application is `secrets`.

use std::borrow::Cow;

use crate::access::Target;
use crate::id::Scope;

/// Namespace and name of the Secret of one scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    scope: Scope,
}

impl Place {
    pub(super) fn of(scope: &Scope) -> Self {
        Self { scope: scope.clone() }
    }

    pub(super) fn namespace(&self) -> Cow<'_, str> {
        Target::from(&self.scope).namespace()
    }

    pub(super) fn name(&self) -> &str {
        Target::from(&self.scope).object_name()
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The collection that the Secret is in.
    pub(super) fn collection(&self) -> String {
        self.path_to(&[])
    }

    /// The Secret itself.
    pub(super) fn path(&self) -> String {
        self.path_to(&["/", self.name()])
    }

    /// Written in one piece: it is the first thing of every call.
    fn path_to(&self, rest: &[&str]) -> String {
        let namespace = self.namespace();
        let parts = ["/api/v1/namespaces/", &namespace, "/secrets"];
        parts.iter().chain(rest).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_scope_has_its_place() {
        let place = |text: &str| {
            let place = Place::of(&Scope::parse(text).unwrap());
            format!("{}/{}", place.namespace(), place.name())
        };
        assert_eq!(place("poc"), "poc/secrets");
        assert_eq!(place("poc/eni--hyperion"), "poc/eni--hyperion");
        assert_eq!(place("poc/eni--hyperion/my-app"), "poc--eni--hyperion/my-app");
    }

    proptest! {
        #[test]
        fn n2_two_scopes_never_share_a_place(
            one in "[a-b]{1,2}(-[a-b])?/[a-b]{1,2}(--?[a-b]{1,2})?(/[a-b]{1,2})?",
            two in "[a-b]{1,2}(-[a-b])?(/[a-b]{1,2}(--?[a-b]{1,2})?)?(/[a-b]{1,2})?",
        ) {
            let (Ok(one), Ok(two)) = (Scope::parse(&one), Scope::parse(&two)) else { return Ok(()) };
            let (here, there) = (Place::of(&one), Place::of(&two));
            let same = here.namespace() == there.namespace() && here.name() == there.name();
            prop_assert_eq!(same, one == two);
        }
    }
}
