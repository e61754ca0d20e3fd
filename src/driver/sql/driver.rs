//! The methods of a driver, which its storage runs as calls.

/// Implements [`Driver`](crate::Driver) for a driver whose first field has the methods `read` and
/// `write`, and those of `Together`.
macro_rules! sql_driver {
    ($driver:ty) => {
        impl $crate::driver::Driver for $driver {
            fn load(
                &self,
                load: $crate::driver::Load,
            ) -> $crate::driver::DriverFuture<Vec<$crate::driver::Found>> {
                if $crate::driver::sql::may_share(&load) {
                    return $crate::driver::sql::Together::load_together(self.0.clone(), load);
                }
                self.0.read(load)
            }

            fn create(
                &self,
                create: $crate::driver::Create,
            ) -> $crate::driver::DriverFuture<$crate::driver::CreateOutcome> {
                use $crate::driver::sql::{Answer, Call, Together};
                // What is created now is there at any time that matters.
                let now = create.session.created;
                let target = $crate::driver::Target::New(create.session);
                let call = Call::Commit(Box::new($crate::driver::Commit::new(target, now)));
                Together::write_together(self.0.clone(), call, Answer::into_create)
            }

            fn commit(
                &self,
                commit: $crate::driver::Commit,
            ) -> $crate::driver::DriverFuture<$crate::driver::CommitOutcome> {
                use $crate::driver::sql::{Answer, Call, Together};
                // Logins of a limited number wait for each other.
                if commit.capped().is_some() {
                    return self.0.write(commit);
                }
                Together::write_together(
                    self.0.clone(),
                    Call::Commit(Box::new(commit)),
                    Answer::into_commit,
                )
            }

            fn replace_item(
                &self,
                replace: $crate::driver::ReplaceItem,
            ) -> $crate::driver::DriverFuture<$crate::driver::ReplaceOutcome> {
                use $crate::driver::sql::{Answer, Call, Together};
                let call = Call::Replace(Box::new(replace));
                Together::write_together(self.0.clone(), call, Answer::into_replace)
            }

            fn destroy(
                &self,
                destroy: $crate::driver::Destroy,
            ) -> $crate::driver::DriverFuture<Vec<$crate::SessionRef>> {
                self.0.write(destroy)
            }

            fn inspect(
                &self,
                inspect: $crate::driver::Inspect,
            ) -> $crate::driver::DriverFuture<Option<$crate::driver::SessionRecord>> {
                self.0.read(inspect)
            }

            fn list(
                &self,
                list: $crate::driver::List,
            ) -> $crate::driver::DriverFuture<Vec<$crate::driver::SessionRecord>> {
                self.0.read(list)
            }

            fn end_where(
                &self,
                end: $crate::driver::EndWhere,
            ) -> $crate::driver::DriverFuture<Vec<$crate::SessionRef>> {
                self.0.write(end)
            }

            fn cleanup(
                &self,
                cleanup: $crate::driver::Cleanup,
            ) -> $crate::driver::DriverFuture<u64> {
                self.0.write(cleanup)
            }

            fn environment(
                &self,
            ) -> $crate::driver::DriverFuture<$crate::driver::EnvironmentState> {
                self.0.read($crate::driver::sql::ReadEnvironment)
            }

            fn create_environment(&self) -> $crate::driver::DriverFuture<()> {
                self.0.write($crate::driver::sql::ChangeEnvironment::Create)
            }

            fn ensure_environment(&self) -> $crate::driver::DriverFuture<()> {
                self.0.write($crate::driver::sql::ChangeEnvironment::Ensure)
            }

            fn remove_environment(
                &self,
                missing: $crate::driver::OnMissing,
            ) -> $crate::driver::DriverFuture<()> {
                self.0.write($crate::driver::sql::ChangeEnvironment::Remove(missing))
            }
        }
    };
}

pub(super) use sql_driver;
