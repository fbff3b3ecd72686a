"""Private names of other libraries, where no public name does the same.

A new version of the library may change any of them without notice, so no other file uses one; a subclass may call what
it inherits. Each library has a file of its own, which is imported by itself
(``from gls_lightning.private_names import of_torch``), so that nothing loads a library that it does not need.
"""
