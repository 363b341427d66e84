"""The lab: real hosts on one Linux machine, for the tests and for trying the site out."""
