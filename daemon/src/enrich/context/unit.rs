//! systemd's reading of a cgroup path: which unit, user unit and slice it belongs to. Follows
//! src/basic/cgroup-util.c and src/basic/unit-name.c of systemd 257, so that the names are those that
//! journald writes as `_SYSTEMD_UNIT`, `_SYSTEMD_USER_UNIT` and `_SYSTEMD_SLICE`
//! (systemd.journal-fields(7)).

/// `UNIT_NAME_MAX` (src/basic/unit-name.h): a name must be shorter, in bytes.
const NAME_MAX: usize = 256;

/// What may follow the last dot of a unit's name (src/basic/unit-def.c, `unit_type_table`).
const TYPES: [&str; 11] = [
    "service",
    "mount",
    "swap",
    "socket",
    "target",
    "device",
    "automount",
    "timer",
    "path",
    "slice",
    "scope",
];

/// What a path says of systemd's units. The names keep their `\x2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Units<'a> {
    /// The unit of the system's manager: `cg_path_get_unit()`.
    pub unit: Option<&'a str>,
    /// The unit of a user's or capsule's manager: `cg_path_get_user_unit()`.
    pub user_unit: Option<&'a str>,
    /// The innermost of the slices that the path begins with: `cg_path_get_slice()`; `None` where systemd
    /// says `-.slice`.
    pub slice: Option<&'a str>,
}

impl<'a> Units<'a> {
    /// Reads a path within its hierarchy. All that is below a unit belongs to it.
    #[must_use]
    pub fn of_path(path: &'a str) -> Self {
        let (slice, below) = split_slices(path);
        let (first, rest) = split_component(below);
        let user_unit =
            if is_manager(first) || is_session(first) { unit_at(split_slices(rest).1) } else { None };
        Self { unit: unit_at(below), user_unit, slice }
    }
}

/// First component and what follows it; both empty at the end.
fn split_component(path: &str) -> (&str, &str) {
    let path = path.trim_start_matches('/');
    path.split_once('/').unwrap_or((path, ""))
}

/// Innermost leading slice, and the path below all of them.
fn split_slices(path: &str) -> (Option<&str>, &str) {
    let mut slice = None;
    let mut below = path;
    loop {
        let (component, rest) = split_component(below);
        match slice_name(component) {
            Some(name) => (slice, below) = (Some(name), rest),
            None => return (slice, below),
        }
    }
}

/// The unit whose cgroup comes first in the path.
fn unit_at(path: &str) -> Option<&str> {
    let name = unescape(split_component(path).0);
    (is_unit_name(name) && !name.ends_with(".slice")).then_some(name)
}

fn slice_name(component: &str) -> Option<&str> {
    let name = unescape(component);
    // A slice is never an instance: valid_slice_name() accepts plain names only.
    (name.ends_with(".slice") && !name.contains('@') && is_unit_name(name)).then_some(name)
}

/// Undoes `cg_escape()`, which puts a `_` before names that the kernel could take for its own files.
fn unescape(component: &str) -> &str {
    component.strip_prefix('_').unwrap_or(component)
}

/// `unit_name_is_valid()` for plain names and instances; templates have no processes.
fn is_unit_name(name: &str) -> bool {
    let Some((stem, kind)) = name.rsplit_once('.') else { return false };
    let instance = stem.split_once('@');
    name.len() < NAME_MAX
        && TYPES.contains(&kind)
        && !stem.is_empty()
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"@:-_.\\".contains(&b))
        && instance.is_none_or(|(template, instance)| !template.is_empty() && !instance.is_empty())
}

/// `user@UID.service` or `capsule@NAME.service`: a manager with units of its own.
fn is_manager(component: &str) -> bool {
    let Some(stem) = component.strip_suffix(".service") else { return false };
    if let Some(uid) = stem.strip_prefix("user@") {
        // parse_uid() in src/basic/user-util.c: decimal, without a leading zero or a sign.
        return uid.bytes().all(|b| b.is_ascii_digit())
            && (uid == "0" || !uid.starts_with('0'))
            && uid.parse::<u32>().is_ok();
    }
    stem.strip_prefix("capsule@").is_some_and(|name| !name.is_empty()) && is_unit_name(component)
}

/// `session-ID.scope`: managers before v206 kept user units below it, and systemd still looks there.
fn is_session(component: &str) -> bool {
    component
        .strip_prefix("session-")
        .and_then(|rest| rest.strip_suffix(".scope"))
        .is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_systemd_accepts_are_units() {
        for (name, is_unit) in [
            ("ssh.service", true),
            ("getty@tty1.service", true),
            ("run-user-1000.mount", true),
            ("dev-disk-by\\x2duuid-1f.swap", true),
            ("init.scope", true),
            ("a@b@c.service", true),
            ("getty@.service", false),
            ("@tty1.service", false),
            (".service", false),
            ("service", false),
            ("payload", false),
            ("a b.service", false),
            ("grüße.service", false),
            ("lxc.payload.web", false),
            ("kubepods-pod1.slice:cri-containerd:9a", false),
        ] {
            assert_eq!(is_unit_name(name), is_unit, "{name}");
        }
        let longest = format!("{}.service", "x".repeat(NAME_MAX - 9));
        assert!(is_unit_name(&longest));
        assert!(!is_unit_name(&format!("x{longest}")));
    }

    #[test]
    fn only_managers_have_user_units() {
        for (component, manages) in [
            ("user@1000.service", true),
            ("user@0.service", true),
            ("user@4294967294.service", true),
            ("user@4294967296.service", false),
            ("user@+5.service", false),
            ("user@0100.service", false),
            ("user@me.service", false),
            ("user@.service", false),
            ("capsule@web.service", true),
            ("capsule@.service", false),
            ("getty@1000.service", false),
        ] {
            assert_eq!(is_manager(component), manages, "{component}");
        }
        assert!(is_session("session-c2.scope"));
        assert!(!is_session("session-.scope"));
        assert!(!is_session("session-a b.scope"));
    }

    #[test]
    fn a_slice_below_a_unit_is_not_the_units_slice() {
        let units = Units::of_path("/system.slice/docker-1.scope/system.slice/ssh.service");
        assert_eq!((units.unit, units.slice), (Some("docker-1.scope"), Some("system.slice")));
    }

    #[test]
    fn an_escaped_name_loses_its_underscore_and_no_more() {
        assert_eq!(Units::of_path("/_cpu.service").unit, Some("cpu.service"));
        assert_eq!(Units::of_path("/__x.service").unit, Some("_x.service"));
        assert_eq!(Units::of_path("/_memory.slice/a.service").slice, Some("memory.slice"));
    }
}
