"""Numbers, strangers' texts and pictures as people read them: shared by reports and result objects."""
