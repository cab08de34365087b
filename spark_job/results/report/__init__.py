"""Report: one page to look at, OUTPUT/report.html, that needs nothing but itself.

figures are what it says, from the output alone; pictures are read anew from the photos; charts lays out what is drawn;
page puts them into page.html.j2 with its style and script; report is the command.
"""
