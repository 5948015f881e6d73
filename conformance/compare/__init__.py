"""The suite against several servers, and the table of what each keeps."""
