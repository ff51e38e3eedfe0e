"""What the controller does under the plain protocol, where one table owns and a flip gives the rows to the other."""
