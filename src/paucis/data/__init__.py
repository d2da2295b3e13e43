"""From a folder on disk to batches: layouts, formats, facts, plan, cache, split and sampling."""
