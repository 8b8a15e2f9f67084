"""The administrator's web pages. They need no JavaScript; with it, parts of a page follow by themselves."""
