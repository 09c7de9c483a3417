"""Container images without a daemon: an environment and a step in, an OCI image out, the same bits every time.

`tree` says what a layer holds, `layer` writes it, `blobs` keeps it, `oci` puts layers together to images and archives.
"""
