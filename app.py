"""DELIFT Studio: `streamlit run app.py`. The table of pages is in pages/ui/shell/navigation.py.

Streamlit imports this file once, as the server's description, and runs it as `__main__` for each visit.
"""

if __name__ == "__main__":
    from pages.ui.shell.navigation import enter

    enter().run()
else:
    from streamlit.starlette import App

    from pages.ui.shell.serving import ROUTES, lifespan, note_page_error

    app = App(__file__, lifespan=lifespan, routes=ROUTES, on_script_error=note_page_error)
