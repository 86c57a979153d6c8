"""Pages: guard, access, form, service, render."""
