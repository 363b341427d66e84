"""What hosts and their daemons report: the questions to them, and what is read in their answers. Nothing here knows a
site: the facts beside this directory do."""
