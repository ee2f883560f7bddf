"""The standard as pure functions: bytes in, values out; knows nothing of an archive.

The reading half: `scan` finds what identifies an object and notices when it is cut off, `part10`
reads and writes the file format, `facts` is what an index keeps of a header, `matching` what a
query key means, `charset` and `uids` what text and UIDs are. The other half reads whole data sets
(`elements`), writes DICOM JSON (`json_model`), finds and decodes frames (`frames`, `codecs`),
transcodes and renders.

Import from the modules: some of them load large libraries, and most users need one or two.
"""
