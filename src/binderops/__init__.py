"""BinderOps: one repository holds everything that a Binder deployment is; this runs it."""
