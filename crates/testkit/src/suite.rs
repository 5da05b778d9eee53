//! Test programs in which each case of a table is a separate, named test. They have `harness = false`; their `main`
//! fills a [`Suite`] and runs it.

use std::{
    cell::RefCell,
    env,
    panic::{self, AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Failed, FormatSetting, Trial};

/// The tests of a program, in order of execution.
#[derive(Debug, Default)]
pub struct Suite(Vec<Trial>);

/// Adds functions to a [`Suite`], as tests named after module and function.
#[macro_export]
macro_rules! tests {
    ($suite:expr, $($test:ident),+ $(,)?) => {
        $($suite.function(concat!(module_path!(), "::", stringify!($test)), $test);)+
    };
}

thread_local! {
    /// The message and location of the last panic in a test on this thread; `None` on other threads.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Suite {
    /// Adds a test, which fails if it panics. Its name is one command-line argument, so spaces become `_`.
    pub fn test(&mut self, name: impl AsRef<str>, test: impl FnOnce() + Send + 'static) {
        let name = name.as_ref().replace(' ', "_");
        self.0.push(Trial::test(name, || {
            PANIC.set(Some(String::new()));
            let result = catch_unwind(AssertUnwindSafe(test));
            let said = PANIC.take().unwrap_or_default();
            result.map_err(|_| Failed::from(said))
        }));
    }

    /// Adds a test with the path of its function, without the first part, the program.
    pub fn function(&mut self, path: &str, test: fn()) {
        self.test(path.split_once("::").map_or(path, |(_, name)| name), test);
    }

    /// Runs the tests selected on the command line, like other test programs. A run of all tests prints one character
    /// instead of one line for each of the thousands of tests.
    pub fn run(self) -> ExitCode {
        let mut args = Arguments::from_args();
        if args.filter.is_none() && !args.quiet && !args.list {
            args.format = args.format.or(Some(FormatSetting::Terse));
        }
        record_panics();
        libtest_mimic::run(&args, self.0).exit_code()
    }
}

/// Test panics are reported with the test's name, other panics immediately.
fn record_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_of_test = PANIC
            .with_borrow_mut(|last| last.as_mut().map(|text| *text = info.to_string()).is_some());
        if !is_of_test || env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            usual(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::{fs, process};

    use super::*;

    #[test]
    fn a_test_fails_where_it_panics() {
        let mut suite = Suite::default();
        suite.test("one word", || {});
        suite.test("panics", || panic!("as it should"));
        suite.function("program::module::function", || {});
        let names: Vec<&str> = suite.0.iter().map(Trial::name).collect();
        assert_eq!(names, ["one_word", "panics", "module::function"]);
        record_panics();
        let log = env::temp_dir().join(format!("gradcam-suite-{}", process::id()));
        let logfile = log.to_str().map(str::to_owned);
        let end = libtest_mimic::run(&Arguments { logfile, ..Arguments::default() }, suite.0);
        assert_eq!((end.num_passed, end.num_failed), (2, 1));
        let said = fs::read_to_string(&log).unwrap();
        fs::remove_file(log).unwrap();
        assert!(said.contains(file!()) && said.contains("as it should"), "{said}");
    }
}
