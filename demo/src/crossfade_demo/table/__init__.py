"""`make demo-table`: a table whose application nobody changes is moved there, back, and there again."""
