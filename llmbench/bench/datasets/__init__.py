"""Where datasets come from: a log of calls, a table, a chat file; and how they are split and looked over."""
