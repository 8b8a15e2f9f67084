"""An emulator of the Yeastar P-Series Open API, as the vendor's developer guide describes it.

Guide: https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/about-this-guide.html
"""
